"""A minimal binding of Linux's inotify(7)."""

from __future__ import annotations

import contextlib
import os
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_IN_MODIFY, _IN_MOVED_TO = 0x2, 0x80
_EVENT_HEAD = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows
_BUFFER = 1 << 16  # bytes


def load_libc() -> Any:
    """Return the C library, which has the system calls of inotify."""
    import ctypes  # only where folders are watched, since it takes time to import

    return ctypes.CDLL(None, use_errno=True)


class Inotify:
    """One inotify instance; it reports that files in a folder were written, or renamed into it.

    Args:
        libc: the C library.

    Attributes:
        descriptor: readable when there are events.

    Raises:
        OSError: the system has no instance left.
    """

    def __init__(self, libc: Any) -> None:
        self._libc = libc
        self.descriptor: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.descriptor < 0:
            raise OSError("inotify is unavailable")

    def add_watch(self, folder: Path) -> int:
        """Watch a folder and return its watch number; negative if it cannot be watched."""
        mask = _IN_MODIFY | _IN_MOVED_TO
        watch: int = self._libc.inotify_add_watch(self.descriptor, os.fsencode(folder), mask)
        return watch

    def remove_watch(self, watch: int) -> None:
        """Stop watching a folder."""
        self._libc.inotify_rm_watch(self.descriptor, watch)

    def read(self) -> Iterator[tuple[int, bool]]:
        """Yield new events, without blocking: the watch number, and whether it is only a write.

        A negative number means that events were lost.
        """
        events, position = b"", 0
        with contextlib.suppress(BlockingIOError):
            events = os.read(self.descriptor, _BUFFER)
        while position < len(events):
            watch, mask, _, length = _EVENT_HEAD.unpack_from(events, position)
            position += _EVENT_HEAD.size + length
            yield watch, mask == _IN_MODIFY

    def close(self) -> None:
        """Close the instance."""
        os.close(self.descriptor)
