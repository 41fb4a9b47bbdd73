"""Which sessions a server keeps from being ended, and for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_mpm.journal.lease import Lease

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.journal.layout import SessionFolder

STARTER = "starter"  # holds a new session until its first follower does


class Leases:
    """The leases that connections hold; a session without any is left to its linger rule."""

    def __init__(self) -> None:
        self._held: dict[tuple[Path, object], Lease] = {}

    def hold(self, folder: SessionFolder, owner: object) -> None:
        """Keep a session from being ended; nothing happens where it has ended already."""
        if (folder.path, owner) not in self._held and folder.lease.exists():
            self._held[folder.path, owner] = Lease(folder)
        if owner != STARTER:
            self.release(folder, STARTER)

    def release(self, folder: SessionFolder, owner: object) -> None:
        """Let go of a session; safe to call twice."""
        lease = self._held.pop((folder.path, owner), None)
        if lease is not None:
            lease.release()

    def release_all(self) -> None:
        """Let go of every session."""
        while self._held:
            self._held.popitem()[1].release()
