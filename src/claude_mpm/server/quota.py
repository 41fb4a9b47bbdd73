"""What one token may have a server hold: in memory what comes, on the disk what has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claude_mpm.server.tokens import Limits

# Both in messages of the longest size, but at least so many bytes.
_IN_MEMORY, _LEAST_IN_MEMORY = 4, 16 << 20
_ON_DISK, _LEAST_ON_DISK = 64, 64 << 20


class Quota:
    """Counts what all connections of a token have on their way, and what its sessions were given.

    Args:
        limits: the token's.

    Attributes:
        stored: bytes that its sessions were given, at most; None until somebody has counted them.
    """

    def __init__(self, limits: Limits) -> None:
        self._memory = max(_IN_MEMORY * limits.message_bytes, _LEAST_IN_MEMORY)
        self._disk = max(_ON_DISK * limits.message_bytes, _LEAST_ON_DISK)
        self._held: dict[object, int] = {}
        self.stored: int | None = None

    def hold(self, owner: object, size: int) -> bool:
        """Count what one connection or upload holds in memory now, in bytes.

        Returns:
            Whether there is room for it; if not, what `owner` held before stays counted.
        """
        others = sum(self._held.values()) - self._held.get(owner, 0)
        if size and others + size > self._memory:
            return False
        self._held[owner] = size
        return True

    def drop(self, owner: object) -> None:
        """Count it no more; safe to call twice."""
        self._held.pop(owner, None)

    def store(self, size: int) -> bool:
        """Count what is about to be stored; return whether there is room, and it was counted."""
        if self.stored is None or self.stored + size > self._disk:
            return False
        self.stored += size
        return True

    @property
    def no_memory(self) -> str:
        """Why there is no room in memory."""
        return f"this token's unfinished messages would take more than {self._memory} bytes"

    @property
    def no_disk(self) -> str:
        """Why there is no room on the disk."""
        return (
            f"this token's sessions were given {self.stored} bytes already, of {self._disk} that"
            " they may have; remove some"
        )
