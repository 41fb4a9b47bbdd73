"""Framing: bytes become lines, of any length, each with its offset in the journal."""

from __future__ import annotations

from io import BytesIO

import msgspec

# Claude writes no longer line, in bytes: of such a line only the beginning is returned, and the
# rest is skipped, so that a hostile place cannot fill the memory.
LONGEST = 1 << 27
_BEGINNING = 1 << 16  # bytes


class Line(msgspec.Struct, frozen=True, gc=False):
    """One line of a journal, or several that were read together.

    Args:
        offset: of its first byte in the journal.
        data: the bytes, without the last newline.
        end: the offset of the next line; `offset + len(data)` for an unfinished last line.
    """

    offset: int
    data: bytes
    end: int


class LineFramer:
    """Splits chunks into lines; chunks may be cut anywhere, also within a character.

    Args:
        offset: of the first byte that will be fed, in the journal.
        together: whether the lines that a chunk completes are returned as one.
    """

    __slots__ = ("_skipping", "_tail", "_together", "offset")

    def __init__(self, offset: int = 0, *, together: bool = False) -> None:
        self.offset = offset
        self._together = together
        self._skipping = False
        self._tail = bytearray()  # it grows without being copied each time, as bytes would be

    def feed(self, chunk: bytes) -> list[Line]:
        """Return the lines that `chunk` completes."""
        if self._skipping:
            chunk = self._skip(chunk)
        # The usual case: one line at a time.
        if chunk and not self._tail and chunk.find(b"\n") == len(chunk) - 1:
            line = Line(self.offset, chunk[:-1], self.offset + len(chunk))
            self.offset = line.end
            return [line]
        last = chunk.rfind(b"\n")
        if last < 0:
            self._tail += chunk
            return [] if len(self._tail) < LONGEST else [self._cut()]
        place = self.offset + len(self._tail)  # of the chunk in the journal
        if self._together:
            lines = [Line(place, chunk[:last], place + last + 1)]
        else:
            lines = _whole_lines(chunk, place)
        if self._tail:
            lines[0] = Line(self.offset, b"".join((self._tail, lines[0].data)), lines[0].end)
        self._tail = bytearray(chunk[last + 1 :])
        self.offset = place + last + 1
        return lines

    def _cut(self) -> Line:
        """Return the beginning of a line that is too long."""
        line = Line(self.offset, bytes(self._tail[:_BEGINNING]), self.offset + len(self._tail))
        self.offset = line.end
        self._tail = bytearray()
        self._skipping = True
        return line

    def _skip(self, chunk: bytes) -> bytes:
        """Return a chunk without the rest of a line that is too long."""
        end = chunk.find(b"\n") + 1
        self._skipping = not end
        self.offset += end or len(chunk)
        return chunk[end:] if end else b""

    def flush(self) -> Line | None:
        """Return an unfinished last line, if there is one, once the journal has ended."""
        data = bytes(self._tail)
        self._tail = bytearray()
        if not data:
            return None
        line = Line(self.offset, data, self.offset + len(data))
        self.offset = line.end
        return line


def _whole_lines(chunk: bytes, place: int) -> list[Line]:
    """Return the lines that a chunk completes, which stands at a place in the journal."""
    lines = []
    for piece in BytesIO(chunk):  # for long lines, far faster than `split`
        begin, place = place, place + len(piece)
        lines.append(Line(begin, piece[:-1], place))
    if not chunk.endswith(b"\n"):
        lines.pop()
    return lines


class LineTooLong(ValueError):
    """A line is longer than the limit."""


class LineBuffer:
    """Splits the bytes of a connection into lines, and rejects one that is too long.

    Unlike `LineFramer`, it returns one line at a time, so that a message is handled before the next
    one is split off, and it stops at a line beyond the limit.

    Args:
        limit: the longest line, in bytes, without its newline.
    """

    def __init__(self, limit: int) -> None:
        self.allow(limit)
        self._rest = bytearray()
        self._searched = 0

    def allow(self, limit: int) -> None:
        """Set the limit of the lines that follow, in bytes."""
        self.limit = limit

    @property
    def held(self) -> int:
        """How many bytes were fed and not returned yet."""
        return len(self._rest)

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._rest += data

    def next(self) -> bytes | None:
        """Return the next whole line without its newline; None if there is none.

        Raises:
            LineTooLong: it is longer than `limit`, or will be.
        """
        end = self._rest.find(b"\n", self._searched)
        if (len(self._rest) if end < 0 else end) > self.limit:
            self._rest.clear()
            raise LineTooLong(f"a message is longer than {self.limit} bytes")
        if end < 0:
            self._searched = len(self._rest)
            return None
        line = bytes(self._rest[:end])
        del self._rest[: end + 1]
        self._searched = 0
        return line
