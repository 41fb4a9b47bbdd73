"""Files of lines that only grow: a line is there whole and on the disk, or it is not there."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def open_log(file: Path) -> int:
    """Open a file to add lines to, and return its descriptor; it is made where it is missing."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(file, flags, 0o600)


def append_line(log: int, line: bytes) -> None:
    """Add a line; a last line that its writer did not live to end is removed before.

    Raises:
        OSError: the disk does not take it; then nothing was added.
    """
    size = cut_torn_line(log)
    try:
        if os.write(log, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(log)
    except OSError:
        os.ftruncate(log, size)
        raise


def cut_torn_line(log: int) -> int:
    """Remove a last line that its writer did not live to end; return the size of the rest."""
    size = before = os.fstat(log).st_size
    while size and os.pread(log, 1, size - 1) != b"\n":
        size -= 1
    if size < before:
        os.ftruncate(log, size)
    return size


def whole_lines(data: bytes) -> list[bytes]:
    """Return the lines of a file, without one that its writer did not live to end."""
    return data.split(b"\n")[:-1]
