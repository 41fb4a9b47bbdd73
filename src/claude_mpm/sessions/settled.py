"""Sessions that have ended and were read to their ends, known again by a stamp of their folders.

To look at each of ten thousand such sessions takes seconds; to see that none has changed does not.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.sessions.index import Index

# A file system counts times coarsely: a change just after a look may leave the time as it was.
_SETTLES = 2_000_000_000  # nanoseconds


def stamp(entry: os.DirEntry[str]) -> str:
    """Return a text that differs once a session was changed; empty where that cannot be seen yet.

    Each start, prompt and end makes, renames or removes a file directly in the session's folder or
    in its `exchange`; the journal grows; what else is said in a row stands in the record.

    Args:
        entry: of the session's folder.
    """
    with suppress(OSError):
        own = entry.stat(follow_symlinks=False).st_mtime_ns
        record = os.lstat(f"{entry.path}/meta.json").st_mtime_ns
        exchange = os.lstat(f"{entry.path}/exchange")
        journal = os.lstat(f"{entry.path}/exchange/out.jsonl")
        is_usual = stat.S_ISDIR(exchange.st_mode) and stat.S_ISREG(journal.st_mode)
        newest = max(own, record, exchange.st_mtime_ns)
        if is_usual and newest + _SETTLES < time.time_ns():
            return f"{own} {record} {exchange.st_mtime_ns} {journal.st_size}"
    return ""


class Settled:
    """What the index remembers of such sessions.

    Args:
        index: the index.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._known = index.settled()
        self._new: dict[str, tuple[str, bytes]] = {}

    def row(self, entry: os.DirEntry[str], stamped: str) -> bytes | None:
        """Return the row that was noted of a session, empty for none; None where it is not settled.

        Args:
            entry: of its folder.
            stamped: what `stamp` returned for it.
        """
        known = self._known.get(entry.name)
        return known[1] if known is not None and stamped and known[0] == stamped else None

    def note(self, folder: SessionFolder, stamped: str, row: bytes = b"") -> None:
        """Remember a session, if it has ended with a status, and was read to its end.

        Args:
            stamped: what `stamp` returned for it before it was looked at.
            row: what `row` is to return for it; empty where nobody has listed it yet.
        """
        if not stamped or folder.exit_status() is None:
            return
        read = self._index.position(folder.path.name).cursor
        if read == folder.journal.size():
            self._new[folder.path.name] = (stamped, row)

    def save(self) -> None:
        """Keep what was noted.

        Raises:
            StorageError: the index cannot be written.
        """
        if self._new:
            self._index.settle(self._new)
