"""Connections whose client has not said who it is: few at once, and each for a short time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

# How many may stand at the door, and for how many seconds each.
AT_ONCE, DEADLINE = 200, 10.0
# The longest first message, in bytes. Where nobody is asked who he is, it brings a framework.
FIRST_MESSAGE, FIRST_WITH_FRAMEWORK = 1 << 16, 1 << 18


class Door:
    """Sends the one who has waited longest away, where there are too many."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Task[None], None] = {}

    def come(self, task: asyncio.Task[None]) -> None:
        """Take note of a new connection, whose work is done by `task`."""
        self._waiting[task] = None
        if len(self._waiting) > AT_ONCE:
            self.send_oldest_away()

    def leave(self, task: asyncio.Task[None] | None) -> None:
        """Forget a connection that was let in, or has ended; safe to call twice."""
        if task is not None:
            self._waiting.pop(task, None)

    def send_oldest_away(self) -> None:
        """End the one that has waited longest."""
        oldest = next(iter(self._waiting), None)
        if oldest is not None:
            self.leave(oldest)
            oldest.cancel()
