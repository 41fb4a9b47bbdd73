"""The FIFOs of a session's folder, as its host has them: what is announced, and who follows."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from claude_mpm.errors import StorageError

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder

_CHUNK = 1 << 12


class Fifos:
    """Reads the feed and the lease, without waiting, and holds what tells that the host is there.

    Args:
        folder: the session's, with its FIFOs.

    Attributes:
        feed: a descriptor that can be read when there are names.
    """

    def __init__(self, folder: SessionFolder) -> None:
        self._folder = folder
        # Both ends, so that reading never ends; whoever announces sees that there is a host.
        self.feed = folder.feed.open_fifo(os.O_RDWR)
        folder.alive.make_fifo()
        self._alive = folder.alive.open_fifo(os.O_RDWR)
        self._lease = folder.lease.open_fifo(os.O_RDONLY)
        self._rest = b""

    def names(self) -> list[str]:
        """Return what was announced since the last call."""
        with suppress(BlockingIOError):
            while chunk := os.read(self.feed, _CHUNK):
                self._rest += chunk
        *names, self._rest = self._rest.split(b"\n")
        return [name.decode() for name in names]

    def followed(self) -> bool:
        """Tell whether anybody holds the lease; without its folder, nobody can any more."""
        if not self._folder.lease.exists():
            return False
        try:
            while os.read(self._lease, _CHUNK):
                pass
        except BlockingIOError:
            return True
        return False


class Linger:
    """Ends the input of a Claude that nobody follows any more.

    Args:
        folder: where it is noted.
        seconds: to wait for the next follower.
        limit: seconds that Claude then has to end by itself.
    """

    def __init__(self, folder: SessionFolder, seconds: float, limit: float) -> None:
        self._folder = folder
        self._seconds = seconds
        self._limit = limit
        self._alone_since: float | None = None
        self._expired_at: float | None = None

    @property
    def expired(self) -> bool:
        """Whether nobody came in time."""
        return self._expired_at is not None

    def look(self, now: float, *, followed: bool) -> None:
        """Take notice of who follows at this moment, in seconds."""
        if self.expired:
            return
        if followed:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = now
        elif now >= self._alone_since + self._seconds:
            self._expired_at = now
            with suppress(StorageError):  # the folder is gone as well
                self._folder.closed.write(b"linger\n")

    def is_over(self, now: float) -> bool:
        """Tell whether Claude has had its time."""
        return self._expired_at is not None and now >= self._expired_at + self._limit
