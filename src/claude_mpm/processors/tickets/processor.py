"""Tickets: work that the assistant names with a marker."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from claude_mpm.processors.dispatch import ByKind, derived
from claude_mpm.processors.tickets.finder import DEFAULT_MARKERS, FoundTicket, TicketFinder
from claude_mpm.records import NATIVE_PREFIX, Ticket
from claude_mpm.wire.text_lines import is_claude_code_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from claude_mpm.wire.events import Event


class TicketProcessor(ByKind):
    """Makes "ticket" events of what the assistant and its subagents say.

    Tool inputs and tool results are not said by the assistant, and `result` repeats what was said.

    Args:
        session: the session's id.
        markers: further marker words, each with its ticket type.
    """

    __slots__ = ("_finder", "_session")

    def __init__(self, session: str, markers: Mapping[str, str] | None = None) -> None:
        self._session = session
        self._finder = TicketFinder(all_markers(markers))

    def taker(self, kind: str) -> Callable[[Event], Iterable[Event]] | None:
        """Return what takes events of a kind; None where nothing does."""
        return self._from_assistant if kind == "assistant" else None

    def _from_assistant(self, event: Event) -> list[Event]:
        content = event.data.message.content
        if isinstance(content, str):
            tickets = self._finder.find(content)
        else:
            tickets = []
            for block in content:
                if block.type == "text" and block.text:
                    tickets += self._finder.find(block.text)
        if not tickets or is_claude_code_text(event.data):
            return []
        agent = (event.data.subagent_type or "").removeprefix(NATIVE_PREFIX)
        return [ticket_event(self._session, ticket, event, agent) for ticket in tickets]


def all_markers(markers: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return the marker words that everybody has, and further ones."""
    return {**DEFAULT_MARKERS, **(markers or {})}


def ticket_event(session: str, ticket: FoundTicket, event: Event, agent: str = "") -> Event:
    """Return the event of a ticket that was found in another event.

    Args:
        session: the session's id.
        ticket: what was found.
        event: where.
        agent: the subagent that said it; empty for the assistant.
    """
    record = Ticket(
        key=ticket_key(session, ticket.type, ticket.title),
        session=session,
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
