"""Tickets: work that the assistant names with a marker."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from claude_mpm.processors.dispatch import ByKind, derived
from claude_mpm.processors.tickets.finder import DEFAULT_MARKERS, FoundTicket, TicketFinder
from claude_mpm.records import NATIVE_PREFIX, Ticket
from claude_mpm.wire.events import Event
from claude_mpm.wire.plain_text import in_pieces
from claude_mpm.wire.text_lines import is_claude_code_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

# Of lines that came together, as many are looked at together; one by one where there is a reason.
PIECE = 50


class TicketProcessor(ByKind):
    """Makes "ticket" events of what the assistant and its subagents say.

    Tool inputs and tool results are not said by the assistant, and `result` repeats what was said.

    Args:
        session: the session's id.
        markers: further marker words, each with its ticket type.
    """

    def __init__(self, session: str, markers: Mapping[str, str] | None = None) -> None:
        self._session = session
        all_markers = {**DEFAULT_MARKERS, **(markers or {})}
        self._finder = TicketFinder(all_markers)
        self._last = Event("text", None, 0, 0)

    def taker(self, kind: str) -> Callable[[Event], Iterable[Event]] | None:
        """Return what takes events of a kind; None where nothing does."""
        return {"assistant": self._from_assistant, "text": self._from_lines}.get(kind)

    def _from_lines(self, event: Event) -> list[Event]:
        events: list[Event] = []
        if self._finder.skips(event.data.text, len(event.data.lines)):
            return events
        for piece in in_pieces(event, PIECE):
            if self._finder.skips(piece.data.text, len(piece.data.lines)):
                continue
            for line in in_pieces(piece, 1):
                self._last = line
                events += [
                    self._event(ticket, line) for ticket in self._finder.feed(line.data.text)
                ]
        return events

    def finish(self) -> Iterable[Event]:
        """Return the ticket whose continuation lines were still being waited for."""
        return [self._event(ticket, self._last) for ticket in self._finder.flush()]

    def _from_assistant(self, event: Event) -> list[Event]:
        tickets: list[FoundTicket] = []
        for block in event.data.message.blocks:
            if block.type == "text" and block.text:
                tickets += self._finder.find(block.text)
        if not tickets or is_claude_code_text(event.data):
            return []
        agent = (event.data.subagent_type or "").removeprefix(NATIVE_PREFIX)
        return [self._event(ticket, event, agent=agent) for ticket in tickets]

    def _event(self, ticket: FoundTicket, event: Event, agent: str = "") -> Event:
        record = Ticket(
            key=ticket_key(self._session, ticket.type, ticket.title),
            session=self._session,
            type=ticket.type,
            title=ticket.title,
            description=ticket.description,
            priority=ticket.priority,
            tags=ticket.tags,
            agent=agent,
            offset=event.offset,
        )
        return derived(event, "ticket", record)


def ticket_key(session: str, type_: str, title: str) -> str:
    """Return the key that makes the same ticket said twice one ticket: case does not matter."""
    identity = f"{session}\0{type_}\0{' '.join(title.casefold().split())}"
    return hashlib.blake2b(identity.encode(), digest_size=5).hexdigest()
