"""The frames between a host and its screens: a kind, a length, and that many bytes."""

from __future__ import annotations

import struct
from typing import NamedTuple

_HEAD = struct.Struct(">cI")
_SIZE = struct.Struct(">HH")
LONGEST = 1 << 20  # bytes in one frame

DATA = b"d"  # both ways: what is typed, and the program's output
RESIZED = b"r"  # to the host: the size of the screen
CONTINUED = b"c"  # to the host: continue the stopped program
STOPPED = b"s"  # to the screen: the program has stopped, as with Ctrl-Z
ENDED = b"e"  # to the screen: the program has ended


class Size(NamedTuple):
    """The size of a screen, in characters."""

    rows: int
    columns: int


class Frame(NamedTuple):
    """One frame."""

    kind: bytes
    data: bytes


class FrameError(Exception):
    """The received bytes are not a valid frame."""


class FrameReader:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> list[Frame]:
        """Return the frames that `chunk` completes.

        Raises:
            FrameError: a frame is longer than `LONGEST`.
        """
        self._rest += chunk
        frames = []
        while len(self._rest) >= _HEAD.size:
            kind, length = _HEAD.unpack_from(self._rest)
            if length > LONGEST:
                raise FrameError(f"a frame of {length} bytes")
            if len(self._rest) < _HEAD.size + length:
                break
            frames.append(Frame(kind, bytes(self._rest[_HEAD.size : _HEAD.size + length])))
            del self._rest[: _HEAD.size + length]
        return frames


def frame(kind: bytes, data: bytes = b"") -> bytes:
    """Return data as one frame, or as several where it is too long for one."""
    pieces = [data[n : n + LONGEST] for n in range(0, len(data), LONGEST)] or [b""]
    return b"".join(_HEAD.pack(kind, len(piece)) + piece for piece in pieces)


def resized_frame(size: Size) -> bytes:
    """Return the frame that carries the size of a screen."""
    return frame(RESIZED, _SIZE.pack(*size))


def read_size(data: bytes) -> Size:
    """Return the size in the data of such a frame.

    Raises:
        FrameError: the data has another length.
    """
    if len(data) != _SIZE.size:
        raise FrameError("a size of another length")
    return Size(*_SIZE.unpack(data))
