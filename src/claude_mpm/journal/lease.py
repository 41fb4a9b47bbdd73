"""Who follows a session: any number hold its lease, one has its lock; the kernel lets go of both.

The lease keeps Claude from being ended; the lock says who gives Claude the prompts that were put
and not heard of, and who may start it again.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder


class Lease:
    """Keeps a session's Claude from being ended by the linger rule."""

    def __init__(self, folder: SessionFolder) -> None:
        # Reading and writing, so that opening waits for nobody and the host may come later.
        self._descriptor = os.open(folder.lease, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        os.write(self._descriptor, b"held\n")

    def release(self) -> None:
        """Let go; safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class SessionLock:
    """Held by one of those who follow a session; death lets go of it."""

    def __init__(self, folder: SessionFolder) -> None:
        # The folder itself: it is there before all that is in it, and outlives every host.
        self._descriptor = os.open(folder.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()

    @property
    def held(self) -> bool:
        """Whether this object has it."""
        return self._descriptor >= 0

    def release(self) -> None:
        """Let go; safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
