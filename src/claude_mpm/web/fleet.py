"""All sessions as rows that stay true: each is read again when something in its folder changed."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from claude_mpm.errors import StorageError
from claude_mpm.web.rows import STALLED_AFTER, read_row
from claude_mpm.web.watches import Bell

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.sessions.store import Store
    from claude_mpm.web.models import SessionRow
    from claude_mpm.web.watches import Watches

_INTERVAL = 1.0  # seconds between two looks at what tells nobody of itself
_SLICE = 250  # sessions at rest that are looked at in one interval
_SHARE = 10  # a row that took t to read is not read again before `_SHARE` times t have passed
_BUSY = 0.2  # seconds between two readings of a row at least
_OVER = ("ended", "lost", "damaged")

Stamp = tuple[tuple[int, int], ...]


class Known(NamedTuple):
    """A row, and since which version of the list it is so; None for a session that is gone."""

    row: SessionRow | None
    version: int


class _RowBell(Bell):
    """Has a session's row read again when its files change."""

    def __init__(self, fleet: Fleet, session: str) -> None:
        super().__init__()
        self._fleet = fleet
        self._session = session

    def ring(self) -> None:
        self._fleet.touch(self._session)


class Fleet:
    """The list of all sessions; it belongs to the event loop, and reads in a thread of its own.

    Args:
        store: the sessions.
        watches: what wakes it.

    Attributes:
        complete: whether all sessions were read at least once.
        version: grows with every change.
    """

    def __init__(self, store: Store, watches: Watches) -> None:
        self.complete = False
        self.version = 0
        self._store = store
        self._watches = watches
        self._known: dict[str, Known] = {}
        self._stamps: dict[str, Stamp] = {}
        self._not_before: dict[str, float] = {}
        self._watched: dict[str, ExitStack] = {}
        self._listeners: set[Bell] = set()
        self._dirty: set[str] = set()
        self._next_slice = 0
        self._woken = asyncio.Event()
        # One thread reads, so that a thousand sessions do not take the processor from the streams.
        self._reader = ThreadPoolExecutor(1, "claude-mpm-web-rows")

    def rows(self) -> list[SessionRow]:
        """Return all rows, the session that was started last first."""
        found = [each.row for each in self._known.values() if each.row is not None]
        return sorted(found, key=lambda row: row.created_at, reverse=True)

    def changes(self, since: int) -> tuple[list[SessionRow], list[str]]:
        """Return the rows that are newer than a version, and the names of sessions that went."""
        newer = {n: each for n, each in self._known.items() if each.version > since}
        rows = [each.row for each in newer.values() if each.row is not None]
        return rows, [name for name, each in newer.items() if each.row is None]

    @contextmanager
    def heard_by(self, bell: Bell) -> Iterator[None]:
        """Ring a bell at every change meanwhile."""
        self._listeners.add(bell)
        try:
            yield
        finally:
            self._listeners.discard(bell)

    def touch(self, session: str) -> None:
        """Read a session's row again soon; called in the event loop."""
        self._dirty.add(session)
        self._woken.set()

    async def run(self) -> None:
        """Keep the rows true until it is cancelled."""
        next_look = 0.0
        try:
            while True:
                if time.monotonic() >= next_look:
                    await self._look_at_all()
                    next_look = time.monotonic() + _INTERVAL
                due = [name for name in self._dirty if self._due(name) <= time.monotonic()]
                for name in due:
                    await self._refresh(self._store.folder(name))
                self._woken.clear()
                times = [next_look, *map(self._due, self._dirty)]
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, min(times) - time.monotonic())):
                        await self._woken.wait()
        finally:
            for stack in self._watched.values():
                stack.close()
            self._store.interrupt()  # the end of the process waits for what is read just now
            self._reader.shutdown(wait=False, cancel_futures=True)

    def _due(self, session: str) -> float:
        return self._not_before.get(session, 0.0)

    async def _look_at_all(self) -> None:
        """Read the sessions whose folders changed without a word since they were read."""
        loop = asyncio.get_running_loop()
        live = frozenset(n for n, each in self._known.items() if each.row and _runs(each.row))
        known = frozenset(n for n, each in self._known.items() if each.row)
        for folder in await loop.run_in_executor(self._reader, self._find_changed, live, known):
            if self._due(folder.path.name) <= time.monotonic():
                await self._refresh(folder)
            else:
                self._dirty.add(folder.path.name)
        if not self.complete:
            self.complete = True
            self._publish()

    def _find_changed(self, live: frozenset[str], known: frozenset[str]) -> list[SessionFolder]:
        """Return the sessions that are new, changed or gone; runs in the reading thread."""
        try:
            folders = {folder.path.name: folder for folder in self._store.folders()}
        except StorageError:  # others can write there; each request says so
            return []
        resting = [name for name in folders if name in known and name not in live]
        begin = self._next_slice if self._next_slice < len(resting) else 0
        self._next_slice = begin + _SLICE
        looked = {*resting[begin : begin + _SLICE], *live, *(folders.keys() - known)}
        changed = [each for name, each in folders.items() if name in looked and self._differs(each)]
        return changed + [self._store.folder(name) for name in known - folders.keys()]

    def _differs(self, folder: SessionFolder) -> bool:
        return self._stamps.get(folder.path.name) != _stamp(folder)

    async def _refresh(self, folder: SessionFolder) -> None:
        name = folder.path.name
        self._dirty.discard(name)
        begun = time.monotonic()
        loop = asyncio.get_running_loop()
        stamp, row = await loop.run_in_executor(self._reader, self._read, folder)
        took = time.monotonic() - begun
        self._stamps[name] = stamp
        self._not_before[name] = time.monotonic() + max(_BUSY, _SHARE * took)
        self._watch(folder, row)
        before = self._known.get(name)
        if row is not (before and before.row) and (before is None or before.row != row):
            self.version += 1
            self._known[name] = Known(row, self.version)
            self._publish()

    def _read(self, folder: SessionFolder) -> tuple[Stamp, SessionRow | None]:
        stamp = _stamp(folder)  # before it is read: what comes meanwhile is seen next time
        return stamp, read_row(self._store, folder) if folder.meta_file.exists() else None

    def _watch(self, folder: SessionFolder, row: SessionRow | None) -> None:
        """Watch the sessions that run, and no others: a watch costs the system something."""
        name = folder.path.name
        runs = row is not None and _runs(row)
        if runs and name not in self._watched and folder.exchange.is_dir():
            stack = self._watched[name] = ExitStack()
            stack.enter_context(self._watches.watch(folder.exchange, _RowBell(self, name)))
        elif not runs and name in self._watched:
            self._watched.pop(name).close()

    def _publish(self) -> None:
        for bell in self._listeners:
            bell.ring()


def _runs(row: SessionRow) -> bool:
    return row.state not in _OVER


def _stamp(folder: SessionFolder) -> Stamp:
    """Return what changes when anything of a session's that is shown does."""
    paths: Iterable[Path] = (
        folder.path, folder.exchange, folder.journal.path, folder.inbox, folder.decisions,
        folder.answers,
    )  # fmt: skip
    marks = [_mark(path) for path in paths]
    is_silent = time.time() - marks[2][0] / 1e9 > STALLED_AFTER
    today = datetime.now().toordinal()
    return (*marks, (int(folder.has_host()), int(is_silent)), (today, 0))


def _mark(path: Path) -> tuple[int, int]:
    try:
        status = path.lstat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size
