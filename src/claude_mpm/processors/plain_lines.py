"""Tickets and announced delegations in lines of text, which no message says to be somebody's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_mpm.processors.delegation_text import find_delegation, may_announce
from claude_mpm.processors.delegations import announcement
from claude_mpm.processors.dispatch import ByKind
from claude_mpm.processors.tickets.finder import TicketFinder
from claude_mpm.processors.tickets.processor import ticket_event
from claude_mpm.wire.events import Event
from claude_mpm.wire.plain_text import in_pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

# Of lines that came together, as many are looked at together; one by one where there is a reason.
PIECE = 50


class PlainLinesProcessor(ByKind):
    """Makes "ticket" and "delegation" events of lines of text.

    Args:
        session: the session's id.
        markers: the marker words, each with its ticket type; none to find no tickets.
    """

    __slots__ = ("_finder", "_last", "_session")

    def __init__(self, session: str, markers: Mapping[str, str]) -> None:
        self._session = session
        self._finder = TicketFinder(markers)
        self._last = Event("text", None, 0, 0)

    def taker(self, kind: str) -> Callable[[Event], Iterable[Event]] | None:
        """Return what takes events of a kind; None where nothing does."""
        return self._from_lines if kind == "text" else None

    def finish(self) -> Iterable[Event]:
        """Return the ticket whose continuation lines were still being waited for."""
        return [ticket_event(self._session, found, self._last) for found in self._finder.flush()]

    def _from_lines(self, event: Event) -> Iterable[Event]:
        if self._skips(event):
            return ()
        return [
            found
            for piece in in_pieces(event, PIECE)
            if not self._skips(piece)
            for line in in_pieces(piece, 1)
            for found in self._from_line(line)
        ]

    def _skips(self, event: Event) -> bool:
        """Skip lines that contain nothing; else return False."""
        text: str = event.data.text
        return not may_announce(text) and self._finder.skips(text, event.data.lines)

    def _from_line(self, line: Event) -> Iterator[Event]:
        self._last = line
        text: str = line.data.text
        for ticket in self._finder.feed(text):
            yield ticket_event(self._session, ticket, line)
        if not self._finder.in_block and (phrase := find_delegation(text)):
            yield announcement(self._session, phrase, line)
