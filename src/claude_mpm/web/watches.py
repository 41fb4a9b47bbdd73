"""Waking many streams of many sessions: one watch for each session that anybody looks at."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from claude_mpm.journal.folder_watch import POLL_INTERVAL, subscribe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Bell:
    """What one stream waits for. It belongs to the event loop, as `Watches` does."""

    __slots__ = ("_event", "polls")

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.polls = False  # whether nothing rings it, so that one has to look

    def hang(self, *, polls: bool) -> None:
        """Set whether it is polled, because nothing rings it."""
        self.polls = polls

    def ring(self) -> None:
        """End the wait, or the next one at once."""
        self._event.set()

    async def wait(self, longest: float) -> bool:
        """Wait until it has rung since the last wait; False where `longest` seconds passed."""
        seconds = min(longest, POLL_INTERVAL) if self.polls else longest
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        rung = self._event.is_set()
        self._event.clear()
        return rung or self.polls


class _Watch:
    """One folder, and the bells of those who wait for it."""

    def __init__(self, folder: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.bells: set[Bell] = set()
        self._loop = loop
        self._rings = False  # a ring is under way; two are not better than one
        self._subscription = subscribe(folder, self._hear)
        self.polls = self._subscription.polls

    def close(self) -> None:
        self._subscription.close()

    def _hear(self) -> None:
        # Called in the watching thread. A race costs one ring too many, and never one too few:
        # the loop clears the mark before it rings.
        if not self._rings:
            self._rings = True
            with suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(self._ring)

    def _ring(self) -> None:
        self._rings = False
        for bell in self.bells:
            bell.ring()


class Watches:
    """The folders that are watched; for use in one event loop alone."""

    def __init__(self) -> None:
        self._watches: dict[Path, _Watch] = {}
        self._bells: set[Bell] = set()
        self.over = False

    @contextmanager
    def watch(self, folder: Path, own: Bell | None = None) -> Iterator[Bell]:
        """Give a bell that rings when files in a folder change, and when all is to end.

        Args:
            own: a bell to ring; without one, one is made.
        """
        watch = self._watches.get(folder)
        if watch is None:
            watch = self._watches[folder] = _Watch(folder, asyncio.get_running_loop())
        with self.plain(own) as bell:
            bell.hang(polls=watch.polls)
            watch.bells.add(bell)
            try:
                yield bell
            finally:
                watch.bells.discard(bell)
                if not watch.bells:
                    watch.close()
                    self._watches.pop(folder, None)

    @contextmanager
    def plain(self, own: Bell | None = None) -> Iterator[Bell]:
        """Give a bell that rings when all is to end; as `watch`."""
        bell = Bell() if own is None else own
        self._bells.add(bell)
        try:
            yield bell
        finally:
            self._bells.discard(bell)

    def end(self) -> None:
        """Let every stream end."""
        self.over = True
        for bell in self._bells:
            bell.ring()
