"""The FIFOs of a session's folder, as its host uses them: announced messages, and followers."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from claude_mpm.errors import StorageError

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder

_CHUNK = 1 << 12


class Fifos:
    """Reads the feed and the lease without blocking, and keeps `alive` open.

    Args:
        folder: the session's, with its FIFOs.

    Attributes:
        feed: the descriptor that is readable when names are announced.
    """

    def __init__(self, folder: SessionFolder) -> None:
        self._folder = folder
        # Opened for both directions: it never reaches its end, and a writer sees that a host runs.
        self.feed = folder.feed.open_fifo(os.O_RDWR)
        folder.alive.make_fifo()
        self._alive = folder.alive.open_fifo(os.O_RDWR)
        self._lease = folder.lease.open_fifo(os.O_RDONLY)
        self._rest = b""

    def names(self) -> list[str]:
        """Return the names of messages that were announced since the last call."""
        with suppress(BlockingIOError):
            while chunk := os.read(self.feed, _CHUNK):
                self._rest += chunk
        *names, self._rest = self._rest.split(b"\n")
        return [name.decode() for name in names]

    def is_followed(self) -> bool:
        """Return whether a follower holds the lease; without its folder, nobody can."""
        if not self._folder.lease.exists():
            return False
        try:
            while os.read(self._lease, _CHUNK):
                pass
        except BlockingIOError:
            return True
        return False


class Linger:
    """The linger rule: ends the input of a Claude that nobody follows any more.

    Args:
        folder: the session's, in which the end of input is recorded.
        seconds: how long to wait for the next follower.
        limit: seconds that Claude then has to end on its own.
    """

    def __init__(self, folder: SessionFolder, seconds: float, limit: float) -> None:
        self._folder = folder
        self._seconds = seconds
        self._limit = limit
        self._alone_since: float | None = None
        self._expired_at: float | None = None

    @property
    def expired(self) -> bool:
        """Whether no follower came in time."""
        return self._expired_at is not None

    def update(self, now: float, *, followed: bool) -> None:
        """Apply the rule at the time `now`, in seconds.

        Args:
            now: on the monotonic clock.
            followed: whether the session has a follower.
        """
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

    def limit_reached(self, now: float) -> bool:
        """Return whether the time in which Claude could end on its own has passed."""
        return self._expired_at is not None and now >= self._expired_at + self._limit
