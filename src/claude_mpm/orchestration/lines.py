"""The last step of the output: lines to whoever asked, or into the queue of `get_output`."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class LineQueue:
    """Hands lines on in batches.

    Args:
        batch_size: how many lines are handed on together.
        take: offered each line first; true where it took the line.
        is_wanted: whether somebody may take lines now.

    Attributes:
        ready: the lines for `get_output`.
    """

    def __init__(
        self, batch_size: int, take: Callable[[str], bool], is_wanted: Callable[[], bool]
    ) -> None:
        self._batch_size = batch_size
        self._take = take
        self._is_wanted = is_wanted
        self._batch: list[str] = []
        self.ready: deque[str] = deque()
        self._waiting = 0
        self._came = threading.Condition(threading.Lock())

    def add(self, line: str) -> None:
        """Take a line; it goes on when its batch is full."""
        self.add_all((line,))

    def add_all(self, lines: Sequence[str]) -> None:
        """Take lines, as `add` takes one."""
        if self._batch_size <= 1 and not self._batch:
            self._hand_on(lines)
            return
        self._batch += lines
        if len(self._batch) >= self._batch_size:
            self.flush()

    def flush(self) -> None:
        """Hand on the lines that wait for their batch."""
        batch, self._batch = self._batch, []
        self._hand_on(batch)

    def _hand_on(self, lines: Sequence[str]) -> None:
        if self._is_wanted():
            lines = [line for line in lines if not self._take(line)]
        self._put(lines)

    def put(self, text: str) -> None:
        """Put the lines of a text into the queue, for nobody's turn."""
        self._put(text.splitlines())

    def get(self, timeout: float) -> str | None:
        """Return the next line; None where there is none for `timeout` seconds."""
        try:
            return self.ready.popleft()
        except IndexError:
            return self._wait(timeout) if timeout > 0 else None

    def _put(self, lines: Sequence[str]) -> None:
        self.ready.extend(lines)
        # Whoever waits has said so before it looked, so it finds the lines or is woken.
        if lines and self._waiting:
            with self._came:
                self._came.notify_all()

    def _wait(self, timeout: float) -> str | None:
        deadline = time.monotonic() + timeout
        with self._came:
            self._waiting += 1
            try:
                while not self.ready and (left := deadline - time.monotonic()) > 0:
                    self._came.wait(left)
            finally:
                self._waiting -= 1
        return self.get(deadline - time.monotonic())  # another thread may be faster
