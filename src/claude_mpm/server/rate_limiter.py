"""How fast messages are taken: who sends faster is read more slowly, and loses nothing."""

from __future__ import annotations

import asyncio


class Pace:
    """Lets a number of messages through each second, and twice as many at once after a silence.

    Args:
        rate: messages a second.
    """

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate
        self._next = 0.0  # when there would be no credit left, on the loop's clock

    async def take(self) -> None:
        """Wait until one more message may be taken."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._next = max(self._next, now - 2.0) + self._interval
        if self._next > now:
            over = loop.create_future()
            alarm = loop.call_at(self._next, over.set_result, None)
            try:
                await over
            finally:
                alarm.cancel()
