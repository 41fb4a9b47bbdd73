"""The last step of the output: lines to whoever asked, or into the queue of `get_output`."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class LineQueue:
    """Hands lines on in batches.

    Args:
        batch_size: how many lines are handed on together.
        take: offered each line first; true where it took the line.
    """

    def __init__(self, batch_size: int, take: Callable[[str], bool]) -> None:
        self._batch_size = batch_size
        self._take = take
        self._batch: list[str] = []
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def add(self, line: str) -> None:
        """Take a line; it goes on when its batch is full."""
        self._batch.append(line)
        if len(self._batch) >= self._batch_size:
            self.flush()

    def flush(self) -> None:
        """Hand on the lines that wait for their batch."""
        batch, self._batch = self._batch, []
        for line in batch:
            if not self._take(line):
                self._lines.put(line)

    def put(self, text: str) -> None:
        """Put the lines of a text into the queue, for nobody's turn."""
        for line in text.splitlines():
            self._lines.put(line)

    def get(self, timeout: float) -> str | None:
        """Return the next line; None where there is none for `timeout` seconds."""
        try:
            return self._lines.get(timeout=timeout)
        except queue.Empty:
            return None
