"""How many bytes one token may use on a server, in memory and on the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claude_mpm.server.tokens import TokenLimits

# Both in messages of the longest size, but at least this many bytes.
_IN_MEMORY, _LEAST_IN_MEMORY = 4, 16 << 20
_ON_DISK, _LEAST_ON_DISK = 64, 64 << 20
_LEAST_KEPT = 1 << 16  # bytes that a file of a record counts, so that there are not too many


class ByteQuota:
    """Counts the unfinished messages of a token's connections, and what its sessions have stored.

    Args:
        limits: the token's.

    Attributes:
        stored: an upper bound of the bytes stored for its sessions; None until they are counted.
    """

    def __init__(self, limits: TokenLimits) -> None:
        self._memory = max(_IN_MEMORY * limits.message_bytes, _LEAST_IN_MEMORY)
        self._disk = max(_ON_DISK * limits.message_bytes, _LEAST_ON_DISK)
        self._held: dict[object, int] = {}
        self._kept: dict[str, int] = {}  # files of records that clients brought, by their names
        self.stored: int | None = None

    def hold(self, owner: object, size: int) -> bool:
        """Set how many bytes one connection or upload holds in memory now.

        Returns:
            Whether they fit into the quota; if not, the previous size of `owner` stays counted.
        """
        others = sum(self._held.values()) - self._held.get(owner, 0)
        if size and others + size > self._memory:
            return False
        self._held[owner] = size
        return True

    def drop(self, owner: object) -> None:
        """Stop counting what `owner` holds; safe to call twice."""
        self._held.pop(owner, None)

    def set_stored(self, size: int) -> None:
        """Set how many bytes are stored for its sessions."""
        self.stored = size

    def store(self, size: int) -> bool:
        """Return whether `size` more bytes may be stored; if so, they are counted."""
        if self.stored is None or self.stored + size > self._disk:
            return False
        self.stored += size
        return True

    def keep(self, name: str, size: int) -> bool:
        """Return whether a file of a record may be kept; if so, it counts, once under its name."""
        others = sum(self._kept.values()) - self._kept.get(name, 0)
        counted = max(size, _LEAST_KEPT)
        if others + counted > self._disk:
            return False
        self._kept[name] = counted
        return True

    @property
    def no_room(self) -> str:
        """The error message for too many records of conversations."""
        return f"this token has brought records of {self._disk} bytes already; no more are kept"

    @property
    def no_memory(self) -> str:
        """The error message for a full memory quota."""
        return f"this token's unfinished messages would take more than {self._memory} bytes"

    @property
    def no_disk(self) -> str:
        """The error message for a full disk quota."""
        return (
            f"this token's sessions were given {self.stored} bytes already, of {self._disk} that"
            " they may have; remove some"
        )
