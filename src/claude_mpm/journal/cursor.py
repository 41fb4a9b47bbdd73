"""Reading a journal by byte offset."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from claude_mpm.wire.framing import LONGEST, Line, LineFramer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from claude_mpm.journal.exchange import ExchangeFile

# How much is read at once, in bytes: the chunks grow while they are full.
CHUNK, LARGE_CHUNK = 1 << 12, 1 << 20
_GROWTH = 16
_BLOCK = 1 << 16  # bytes that are read at once backwards


class Cursor:
    """Reads the lines of a journal from an offset; any number of cursors read the same file.

    Args:
        journal: the file; it must exist.
        offset: where to start, in bytes: 0, or the end of a line.
        together: whether the lines of one chunk are returned as one.

    Attributes:
        more: whether the last `read` left something unread.
    """

    __slots__ = ("_chunk", "_file", "_framer", "_read_to", "more")

    def __init__(self, journal: ExchangeFile, offset: int = 0, *, together: bool = False) -> None:
        self._file = journal.open()
        self.more = False
        self._framer = LineFramer(offset, together=together)
        self._read_to = offset
        self._chunk = CHUNK

    @property
    def offset(self) -> int:
        """The end of the last line that was returned, in bytes."""
        return self._framer.offset

    def read(self) -> list[Line]:
        """Return the lines of the next chunk; an empty list if there is nothing new."""
        while chunk := os.pread(self._file, self._chunk, self._read_to):
            self._read_to += len(chunk)
            self.more = len(chunk) == self._chunk
            self._chunk = min(self._chunk * _GROWTH, LARGE_CHUNK) if self.more else CHUNK
            lines = self._framer.feed(chunk)
            if lines:
                return lines
        self.more = False
        return []

    def rest(self) -> Line | None:
        """Return an unfinished last line, once nothing more is written."""
        return self._framer.flush()

    def close(self) -> None:
        """Close the file; safe to call twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def newest_lines(journal: ExchangeFile, begin: int, end: int) -> Iterator[Line]:
    """Yield the lines between two offsets of a journal, the last one first.

    Args:
        begin: where the first of them starts, in bytes.
        end: where the last of them ends, after its newline, in bytes.
    """
    file = journal.open()
    try:
        pieces: list[bytes] = []  # of the line that ends at `end`, the last one first
        place = end - 1
        while place > begin:
            start = max(begin, place - _BLOCK)
            piece, *rest = os.pread(file, place - start, start).split(b"\n")
            place = start
            for data in reversed(rest):
                line = _last_line([*pieces, data], end)
                yield line
                pieces, end = [], line.offset
            pieces.append(piece)
            if len(pieces) * _BLOCK > LONGEST:
                return  # Claude writes no such line
        if end > begin:
            yield _last_line(pieces, end)
    finally:
        os.close(file)


def _last_line(pieces: Sequence[bytes], end: int) -> Line:
    data = b"".join(reversed(pieces))
    return Line(end - 1 - len(data), data, end)


def read_lines(journal: ExchangeFile, offset: int = 0) -> Iterator[Line]:
    """Yield every line of the journal, and an unfinished last one."""
    cursor = Cursor(journal, offset)
    try:
        while lines := cursor.read():
            yield from lines
        rest = cursor.rest()
        if rest is not None:
            yield rest
    finally:
        cursor.close()
