"""A journal's lines for the page: some of them at once, or as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.errors import UsageError
from claude_mpm.journal.cursor import Cursor, newest_lines
from claude_mpm.validation import NOT_JSON
from claude_mpm.web.models import EventPage, EventView
from claude_mpm.wire import WIRES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.wire import Wire
    from claude_mpm.wire.events import Event
    from claude_mpm.wire.framing import Line

MOST_EVENTS = 1000  # in one answer
LONGEST_LINE = 1 << 20  # bytes of a line that are given whole
_MOST_BYTES = 8 << 20  # of the lines that are looked at for one answer; one may be longer
_MOST_LOOKED = 20_000  # of these lines
_SHOWN = 1 << 14  # bytes of a longer one


def read_page(
    folder: SessionFolder,
    *,
    since: int | None = None,
    before: int | None = None,
    limit: int = 200,
    pieces: bool = True,
) -> EventPage:
    """Return lines of a journal: those behind `since`, or those in front of `before`.

    Args:
        since: where a line begins, in bytes; None for the end.
        before: where a line begins, or the end of the journal; None for the end.
        limit: how many lines at most.
        pieces: whether pieces of a message in the making are among them.

    Raises:
        UsageError: both are given, or one of them is not within the journal.
        StorageError: the record is damaged.
    """
    if since is not None and before is not None:
        raise UsageError("give since or before, not both")
    size = folder.journal.size()
    place = since if since is not None else size if before is None else before
    if not 0 <= place <= size:
        raise UsageError(f"the journal has {size} bytes, and none at {place}")
    at = _end_of_lines(folder, place) if since is None else since
    taken = _Taken(WIRES[folder.read_meta().wire], max(1, min(limit, MOST_EVENTS)), pieces, at)
    if since is None:
        taken.take_backwards(newest_lines(folder.journal, 0, taken.end))
    else:
        taken.take(_behind(folder, since))
    return EventPage(
        events=taken.events,
        begin=taken.begin,
        end=taken.end,
        size=size,
        stream_since=min([taken.end, *taken.making.values()]),
    )


class _Taken:
    """The lines of one answer, within its bounds.

    Args:
        wire: how the journal is read.
        most: how many lines at most.
        pieces: whether pieces of a message in the making count.
        at: where it begins to look, in bytes.

    Attributes:
        begin: where the first line begins that was looked at.
        end: where the last one ends.
        making: where the messages begin that are in the making, by who says them.
    """

    def __init__(self, wire: Wire, most: int, pieces: bool, at: int) -> None:
        self.events: list[EventView] = []
        self.begin = self.end = at
        self.making: dict[str | None, int] = {}
        self._wire = wire
        self._most = most
        self._pieces = pieces
        self._size = self._looked = 0
        self._whole: set[str | None] = set()  # speakers whose last message has its end

    def take(self, lines: Iterator[Line]) -> None:
        """Take lines in their order."""
        for line in lines:
            if self._is_full(line):
                return
            self.end = line.end
            self.events += self._wanted(line, self._note_piece)

    def take_backwards(self, lines: Iterator[Line]) -> None:
        """Take lines, the last one first."""
        for line in lines:
            if self._is_full(line):
                return
            self.begin = line.offset
            self.events[:0] = self._wanted(line, self._note_earlier_piece)

    def _is_full(self, line: Line) -> bool:
        self._looked += 1
        self._size += min(len(line.data), LONGEST_LINE)
        is_full = len(self.events) >= self._most or self._looked > _MOST_LOOKED
        return is_full or (self._looked > 1 and self._size > _MOST_BYTES)

    def _wanted(self, line: Line, note: Callable[[Event], None]) -> list[EventView]:
        events = self._wire.decode(line)
        if self._pieces:
            return [_view(event) for event in events]
        for event in events:
            if event.kind == "stream_event":
                note(event)
        return [_view(event) for event in events if event.kind != "stream_event"]

    def _note_piece(self, event: Event) -> None:
        speaker, kind = event.data.parent_tool_use_id, event.data.event.get("type")
        if kind == "message_start":
            self.making[speaker] = event.offset
        elif kind == "message_stop":
            self.making.pop(speaker, None)

    def _note_earlier_piece(self, event: Event) -> None:
        speaker, kind = event.data.parent_tool_use_id, event.data.event.get("type")
        if kind == "message_stop":
            self._whole.add(speaker)
        elif kind == "message_start" and speaker not in self._whole:
            self._whole.add(speaker)
            self.making[speaker] = event.offset


def _behind(folder: SessionFolder, offset: int) -> Iterator[Line]:
    cursor = Cursor(folder.journal, offset)
    try:
        while lines := cursor.read():
            yield from lines
    finally:
        cursor.close()


def _end_of_lines(folder: SessionFolder, end: int) -> int:
    """Return where the last line before a place ends that has its newline."""
    block = 1 << 16
    while end > 0:
        start = max(0, end - block)
        found = folder.journal.read(end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def views(wire: Wire, line: Line) -> list[EventView]:
    """Return what a line says: mostly one event."""
    return [_view(event) for event in wire.decode(line)]


def _view(event: Event) -> EventView:
    data, cut = _data_of(event)
    return EventView(
        offset=event.offset, end=event.end, kind=event.kind, type=event.type, data=data, cut=cut
    )


def _data_of(event: Event) -> tuple[Any, bool]:
    raw = event.raw
    if len(raw) > LONGEST_LINE:
        return {"text": raw[:_SHOWN].decode("utf-8", "replace")}, True
    if event.kind in ("text", "not-json"):
        return {"text": event.data.text}, False
    try:
        msgspec.json.decode(raw, type=msgspec.Raw)
        raw.decode()
    except (UnicodeDecodeError, *NOT_JSON):  # what our own decoder understands anyway
        return msgspec.to_builtins(event.data, enc_hook=str), False
    return msgspec.Raw(raw.replace(b"\r", b" ")), False  # a line end in server-sent events
