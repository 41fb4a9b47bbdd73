"""Waiting in an event loop for a folder to change."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from claude_mpm.journal.folder_watch import POLL_INTERVAL, subscribe

if TYPE_CHECKING:
    from pathlib import Path


class Changes:
    """An alarm clock for changes of the files in a folder.

    Args:
        folder: it must exist.
    """

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()
        self._subscription = subscribe(folder, self._ring)

    async def wait(self, longest: float) -> None:
        """Wait until the folder may have changed since the last wait, or `longest` seconds."""
        seconds = min(longest, POLL_INTERVAL) if self._subscription.polls else longest
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        self._rung.clear()

    def close(self) -> None:
        """Stop watching."""
        self._subscription.close()

    def _ring(self) -> None:
        with suppress(RuntimeError):  # the loop has ended meanwhile
            self._loop.call_soon_threadsafe(self._rung.set)
