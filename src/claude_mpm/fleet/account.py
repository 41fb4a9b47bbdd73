"""An account and its rate limit: one refusal parks all its sessions, which then return in turn."""

from __future__ import annotations

import asyncio
import time

UNTOLD = 60.0  # seconds to wait where a refusal names no moment
_PROBATION = 20.0  # seconds after which who returned makes way though nothing was heard of it


class Account:
    """Lets sessions in: at once, not before the limit is lifted, or one after the other.

    It is used in one event loop alone.

    Attributes:
        until: when the limit is lifted, in seconds since the epoch; 0 where there is none.
    """

    def __init__(self) -> None:
        self.until = 0.0
        self._returning = False  # whether the limit was lifted and nobody has been heard of yet
        self._first: object | None = None  # who tries whether it is
        self._since = 0.0
        self._queue: list[object] = []
        self._changed = asyncio.Event()

    def park(self, until: float | None) -> float:
        """Let nobody in before a moment; return that moment.

        Args:
            until: in seconds since the epoch; None where the refusal named none.
        """
        moment = until if until is not None and until > time.time() else time.time() + UNTOLD
        self.until = max(self.until, moment)
        self._returning, self._first = True, None
        self._wake()
        return self.until

    async def enter(self, who: object) -> None:
        """Wait until `who` may begin; cancelling it gives the place in the queue up."""
        self._queue.append(who)
        try:
            while (pause := self._pause(who)) > 0:
                self._changed.clear()
                try:
                    await asyncio.wait_for(self._changed.wait(), min(pause, 60.0))
                except TimeoutError:
                    continue
        finally:
            self._queue.remove(who)
            self._wake()

    def heard(self, who: object) -> None:
        """Note that the model answers `who`, or that its turn has ended: the next may return."""
        if self._first is who:
            self._first = None
            self._returning = bool(self._queue)
            self._wake()

    def _pause(self, who: object) -> float:
        """Return for how many seconds `who` has to wait at most; 0 where it may begin."""
        now = time.time()
        if now < self.until:
            return self.until - now
        if not self._returning:
            return 0.0
        left = self._since + _PROBATION - time.monotonic()
        if self._first is not None and left > 0:
            return left
        if self._queue[0] is not who:
            return _PROBATION
        self._first, self._since = who, time.monotonic()
        return 0.0

    def _wake(self) -> None:
        self._changed.set()
