"""The last step of the output: lines to whoever asked, or into the queue of `get_output`."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_mpm.conversation.turn_tracker import TurnTracker

# Held while a queue's condition is made, by the first who waits, or its lines are, by the first
# who has one; of all queues.
_making = threading.Lock()


# What all queues have until their first line comes; an empty one of its own has 0.7 KB.
_NO_LINES: deque[str] = deque(maxlen=0)


class LineQueue:
    """Hands lines on in batches.

    Args:
        batch_size: how many lines are handed on together.
        turns: the turns; the one that is being answered takes the lines.

    Attributes:
        ready: the lines for `get_output`.
    """

    __slots__ = ("_batch", "_batch_size", "_came", "_turns", "_waits", "ready")

    def __init__(self, batch_size: int, turns: TurnTracker) -> None:
        self._batch_size = batch_size
        self._turns = turns
        self._batch: list[str] = []
        self.ready = _NO_LINES
        self._waits = False  # somebody does, and was not notified yet
        # The reader wakes through it whoever waits in `get`, in any thread; it guards `_waits`.
        self._came: threading.Condition | None = None  # once somebody waits

    def add(self, line: str) -> None:
        """Take a line; it goes on when its batch is full."""
        self.add_all((line,))

    def add_all(self, lines: Sequence[str]) -> None:
        """Take lines, as `add` takes one."""
        if self._batch_size > 1 or self._batch:
            self._batch += lines
            if len(self._batch) >= self._batch_size:
                self.flush()
        elif self._turns.active is not None:
            self._hand_on(lines)
        else:
            self._put(lines)

    def flush(self) -> None:
        """Hand on the lines that wait for their batch."""
        batch, self._batch = self._batch, []
        self._hand_on(batch)

    def _hand_on(self, lines: Sequence[str]) -> None:
        if self._turns.active is not None:
            lines = [line for line in lines if not self._turns.take_line(line)]
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
        if self.ready is _NO_LINES and lines:  # whoever takes lines looks it up each time
            with _making:
                if self.ready is _NO_LINES:
                    self.ready = deque()
        self.ready.extend(lines)
        # Whoever waits has said so before it looked, so it finds the lines or is woken.
        if lines and self._waits and self._came is not None:
            with self._came:
                self._waits = False
                self._came.notify_all()

    def _wait(self, timeout: float) -> str | None:
        deadline = time.monotonic() + timeout
        with _making:
            came = self._came = self._came or threading.Condition(threading.Lock())
        with came:
            self._waits = True
            while not self.ready and (left := deadline - time.monotonic()) > 0:
                came.wait(left)
                self._waits = True
        return self.get(deadline - time.monotonic())  # another thread may be faster
