"""Bytes become lines, of any length, each with its place in the journal."""

from __future__ import annotations

import msgspec

# A longer line, in bytes, is none that Claude has written: its beginning is given out, and the rest
# is passed over, so that a place cannot fill the memory here.
LONGEST = 1 << 27
_BEGINNING = 1 << 16  # bytes


class Line(msgspec.Struct, frozen=True, gc=False):
    """One line of a journal, or several that were read together.

    Args:
        offset: where its first byte stands in the journal, in bytes.
        data: the bytes, without the last newline.
        end: where the next line starts; `offset + len(data)` for an unfinished last line.
    """

    offset: int
    data: bytes
    end: int


class LineFramer:
    """Cuts chunks into lines; a character or a line may be cut anywhere between chunks.

    Args:
        offset: the place in the journal of the first byte that will be fed, in bytes.
        together: whether the lines that a chunk completes come as one.
    """

    def __init__(self, offset: int = 0, *, together: bool = False) -> None:
        self.offset = offset
        self._together = together
        self._passing = False
        self._tail = bytearray()  # it grows without being copied each time, as bytes would be

    def feed(self, chunk: bytes) -> list[Line]:
        """Return the lines that `chunk` completes."""
        if self._passing:
            chunk = self._pass_over(chunk)
        # As it is where it comes slowly.
        if chunk and not self._tail and chunk.find(b"\n") == len(chunk) - 1:
            line = Line(self.offset, chunk[:-1], self.offset + len(chunk))
            self.offset = line.end
            return [line]
        if b"\n" not in chunk:  # far faster than `split` finds it out, where a line is long
            self._tail += chunk
            return [] if len(self._tail) < LONGEST else [self._cut()]
        head, *rest = chunk.rsplit(b"\n", 1) if self._together else chunk.split(b"\n")
        datas = [b"".join((self._tail, head)), *rest[:-1]]
        self._tail = bytearray(rest[-1])
        lines = []
        end = self.offset
        for data in datas:
            offset, end = end, end + len(data) + 1
            lines.append(Line(offset, data, end))
        self.offset = end
        return lines

    def _cut(self) -> Line:
        """Give out the beginning of a line that is too long."""
        line = Line(self.offset, bytes(self._tail[:_BEGINNING]), self.offset + len(self._tail))
        self.offset = line.end
        self._tail = bytearray()
        self._passing = True
        return line

    def _pass_over(self, chunk: bytes) -> bytes:
        """Take the rest of a line that is too long out of what came next."""
        end = chunk.find(b"\n") + 1
        self._passing = not end
        self.offset += end or len(chunk)
        return chunk[end:] if end else b""

    def flush(self) -> Line | None:
        """Return what stands after the last newline, if anything: the journal is over."""
        data = bytes(self._tail)
        self._tail = bytearray()
        if not data:
            return None
        line = Line(self.offset, data, self.offset + len(data))
        self.offset = line.end
        return line
