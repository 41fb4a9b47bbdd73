"""What passes between a host and its screens: a kind, a length, and that many bytes."""

from __future__ import annotations

import struct
from typing import NamedTuple

_HEAD = struct.Struct(">cI")
_SIZE = struct.Struct(">HH")
LONGEST = 1 << 20  # bytes in one frame

DATA = b"d"  # both ways: what is typed, and what is shown
RESIZED = b"r"  # to the host: how large the screen is
CONTINUED = b"c"  # to the host: the program that stopped may go on
STOPPED = b"s"  # to the screen: the program has stopped, as with Ctrl-Z
ENDED = b"e"  # to the screen: the program has ended


class Size(NamedTuple):
    """How large a screen is, in characters."""

    rows: int
    columns: int


class Frame(NamedTuple):
    """One message."""

    kind: bytes
    data: bytes


class FrameError(Exception):
    """What came is no message of ours."""


class FrameReader:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> list[Frame]:
        """Return the frames that `chunk` completes.

        Raises:
            FrameError: a frame is announced that is longer than any of ours.
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
    """Return a message as bytes; data that is too long for one goes as several."""
    pieces = [data[n : n + LONGEST] for n in range(0, len(data), LONGEST)] or [b""]
    return b"".join(_HEAD.pack(kind, len(piece)) + piece for piece in pieces)


def resized(size: Size) -> bytes:
    """Return the message that tells how large a screen is."""
    return frame(RESIZED, _SIZE.pack(*size))


def read_size(data: bytes) -> Size:
    """Return what such a message says.

    Raises:
        FrameError: it says something else.
    """
    if len(data) != _SIZE.size:
        raise FrameError("a size of another length")
    return Size(*_SIZE.unpack(data))
