"""A batch, as a program uses it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec

from claude_mpm.errors import UsageError
from claude_mpm.fleet.ledger import (
    BatchLock,
    Changed,
    Ended,
    Ledger,
    Limits,
    Plan,
    Reopened,
    create_batch,
    find_batch,
)
from claude_mpm.fleet.places import Place, choose_places
from claude_mpm.fleet.runner import How, Runner
from claude_mpm.fleet.task import Result, Task
from claude_mpm.sessions.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from claude_mpm.fleet.ledger import Entry

STOP_FILE = "stop"  # in the batch's folder: what runs is to be ended, and not to be left


class Batch:
    """Runs tasks to their ends, in several places at once; used with `async with`.

    Leaving the `with` lets what runs go on by itself; `Batch.resume` takes it up again, also when
    this program was killed.

    Args:
        tasks: prompts, tables with the fields of a `Task`, or tasks.
        places: where they run: names, each with how many at once, as in "build:4", or places.
        name: of the batch; None for one that is made of the time.
        state_dir: the folder of sessions and batches; None for the platform's own.
        options: keyword arguments of an orchestrator that hold for every task.
        base: the folder from which relative paths are meant; None for the current one.
        limits: see `Limits`.

    Raises:
        UsageError: a task, a place or a limit that cannot be meant, or a name that is taken.
        StorageError: the batch cannot be kept.
    """

    def __init__(
        self,
        tasks: Iterable[Task | Mapping[str, Any] | str],
        places: Iterable[Place | str] = ("local",),
        *,
        name: str | None = None,
        state_dir: str | Path | None = None,
        options: Mapping[str, Any] | None = None,
        base: str | Path | None = None,
        **limits: Any,
    ) -> None:
        chosen = _places(places)
        store = Store(state_dir)
        plan = Plan(
            name=name or time.strftime("batch-%Y%m%d-%H%M%S"),
            created_at=time.time(),
            base=str(Path(base or ".").absolute()),
            places=tuple(f"{place.name}:{place.at_once}" for place in chosen),
            limits=_limits(Limits(), limits),
        )
        folder = create_batch(store.path, plan, _tasks(tasks))
        self._prepare(store, folder, chosen, options)

    def _prepare(
        self,
        store: Store,
        folder: Path,
        places: Sequence[Place],
        options: Mapping[str, Any] | None,
        *,
        retry_failed: bool = False,
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        self._store = store
        self.folder = folder
        self._places = places
        self._options = dict(options or {})
        self._reopens = retry_failed
        self._changes = dict(changes or {})
        self._lock: BatchLock | None = None
        self._ledger: Ledger | None = None
        self._runner: Runner | None = None
        self._running: asyncio.Task[None] | None = None

    @classmethod
    def resume(
        cls,
        name: str | None = None,
        places: Iterable[Place | str] | None = None,
        *,
        state_dir: str | Path | None = None,
        options: Mapping[str, Any] | None = None,
        retry_failed: bool = False,
        **limits: Any,
    ) -> Self:
        """Return a batch that goes on where it was left.

        Args:
            name: of the batch; None for the newest.
            places: None for those that it had, as the settings have them now.
            retry_failed: whether tasks that have failed are begun again.
            state_dir, options: as for the constructor.
            limits: those that hold from now on.

        Raises:
            UnknownSession: there is none.
        """
        batch = cls.__new__(cls)
        store = Store(state_dir)
        folder = find_batch(store.path, name)
        chosen = _places(Ledger(folder).plan.places if places is None else places)
        batch._prepare(store, folder, chosen, options, retry_failed=retry_failed, changes=limits)
        return batch

    async def __aenter__(self) -> Self:
        """Begin to run.

        Raises:
            NotOwner: another runs this batch.
            StorageError: its folder is damaged, or cannot be written.
        """
        self._lock = BatchLock(self.folder)
        try:
            (self.folder / STOP_FILE).unlink(missing_ok=True)
            self._ledger = Ledger(self.folder)
            self._note_changes(self._ledger)
            self._store.index.position("")  # opened once, and held for all
            self._runner = Runner(self._ledger, self._places, self._store, self._options)
        except BaseException:
            self._close()
            raise
        self._running = asyncio.create_task(self._runner.run())
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Release what runs; it goes on by itself."""
        if self._runner is not None:
            self._runner.leave(error)
        try:
            if self._running is not None:
                await self._running
        finally:
            self._close()

    def _note_changes(self, ledger: Ledger) -> None:
        now = time.time()
        if self._changes:
            ledger.note(Changed(limits=_limits(ledger.limits, self._changes), at=now))
        if self._reopens:
            failed = [result.task for result in ledger.results() if not result.ok]
            ledger.note(Reopened(tasks=failed, at=now))

    def _close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()
        if self._lock is not None:
            self._lock.release()
        self._store.close()

    @property
    def runner(self) -> Runner:
        """What runs it.

        Raises:
            UsageError: it was not begun.
        """
        if self._runner is None:
            raise UsageError("the batch does not run; use it with `async with`")
        return self._runner

    @property
    def ledger(self) -> Ledger:
        """What is known of it."""
        return self._ledger if self._ledger is not None else Ledger(self.folder)

    async def entries(self) -> AsyncIterator[Entry]:
        """Yield everything that happens, until the runner is done.

        Raises:
            MPMError: the runner could not go on.
        """
        while (entry := await self.runner.entries.get()) is not None:
            yield entry
        if self._running is not None:
            await self._running

    async def __aiter__(self) -> AsyncIterator[Result]:
        """Yield how each task ends, when it has.

        Raises:
            MPMError: the runner could not go on.
        """
        async for entry in self.entries():
            if isinstance(entry, Ended) and entry.final:
                yield entry.result

    def leave(self) -> None:
        """Let what runs go on by itself, and begin nothing more."""
        if self._runner is not None:
            self._runner.leave(None)

    def stop(self) -> None:
        """Interrupt what runs; `resume` can go on with it."""
        if self._runner is not None:
            self._runner.halt(How.END, "stopped")


def _places(places: Iterable[Place | str]) -> list[Place]:
    found = list(places)
    if not found:
        raise UsageError("no place is named; name one, as in local:4")
    if all(isinstance(place, Place) for place in found):
        return [place for place in found if isinstance(place, Place)]
    from claude_mpm.config.settings import load_settings

    known = load_settings().settings.places
    chosen: list[Place] = []
    for place in found:
        chosen += [place] if isinstance(place, Place) else choose_places([place], known)
    return chosen


def _tasks(given: Iterable[Task | Mapping[str, Any] | str]) -> list[Task]:
    tasks: list[Task] = []
    for number, each in enumerate(given, 1):
        fields = {"prompt": each} if isinstance(each, str) else each
        if not isinstance(fields, Task):
            try:
                fields = msgspec.convert({"id": f"{number:04d}", **fields}, Task)
            except msgspec.ValidationError as error:
                raise UsageError(f"task {number}: {error}; correct it") from error
        tasks.append(fields)
    seen: set[str] = set()
    for task in tasks:
        if task.id in seen:
            raise UsageError(f"two tasks have the id {task.id!r}; give each its own")
        seen.add(task.id)
    if not tasks:
        raise UsageError("a batch has one task at least")
    return tasks


def _limits(limits: Limits, given: Mapping[str, Any]) -> Limits:
    """Return limits with others in the place of some.

    Raises:
        UsageError: a limit that there is not, or a value that it cannot have.
    """
    fields = {**msgspec.to_builtins(limits), **{k: v for k, v in given.items() if v is not None}}
    if "retry_on" in given and given["retry_on"] is not None:
        fields["retry_on"] = [str(each) for each in given["retry_on"]]
    if unknown := next((name for name in given if name not in Limits.__struct_fields__), None):
        raise UsageError(f"a batch has no limit {unknown!r}")
    try:
        return msgspec.convert(fields, Limits)
    except msgspec.ValidationError as error:
        raise UsageError(f"the limits of a batch: {error}; correct it") from error
