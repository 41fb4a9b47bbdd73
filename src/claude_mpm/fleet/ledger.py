"""The folder of a batch: its tasks, and a log of everything that happened to them.

What is about to be done is in the log before it is done. So a runner may be killed at any moment:
whoever reads the log knows every attempt, and its session says how it stands.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import msgspec

from claude_mpm.errors import NotOwner, StorageError, UnknownSession, UsageError
from claude_mpm.fleet.task import ID_PATTERN, Result, Task, Trouble
from claude_mpm.folders import check_private, close_lock, make_private
from claude_mpm.journal.lease import machine
from claude_mpm.journal.line_log import append_line, open_log, whole_lines
from claude_mpm.journal.orphans import exists
from claude_mpm.journal.storage import sync_path, write_whole
from claude_mpm.records import Spending
from claude_mpm.validation import NOT_JSON, local_time, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LONGEST_NAME = 64  # characters
_TRIES, _PAUSE = 10, 0.02  # who looks whether a batch is run holds its lock for an instant
_TRIES_AFTER_DEATH = 500  # what was forked for a command holds it, too, until the command begins


_Count = Annotated[int, msgspec.Meta(ge=1)]
_Amount = Annotated[float, msgspec.Meta(gt=0)]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch may use, and when it is tried again.

    Args:
        attempts: how often a task is begun at most, where infrastructure ended the one before.
        retry_on: which troubles of infrastructure let a task be begun again.
        budget_usd: what all tasks may cost together; None for no limit, as for all of the next.
        token_budget: how many tokens they may use together.
        max_failures: after how many tasks that failed no more are begun.
        timeout: seconds after which the runner ends what still runs.
    """

    attempts: _Count = 3
    retry_on: tuple[Trouble, ...] = tuple(Trouble)
    budget_usd: _Amount | None = None
    token_budget: _Count | None = None
    max_failures: _Count | None = None
    timeout: _Amount | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch is; it holds no secrets.

    Args:
        name: of the batch, and of its folder.
        created_at: seconds since the epoch.
        base: the folder from which relative paths of this machine are meant.
        places: as they were named, with how many at once: "build:4".
        limits: as they were given first; the log has what was changed.
    """

    name: str
    created_at: float
    base: str
    places: tuple[str, ...]
    limits: Limits = Limits()


class Began(msgspec.Struct, frozen=True, kw_only=True, tag="began"):
    """An attempt is about to be made; its session may not exist yet."""

    task: str
    attempt: int
    session: str
    place: str
    at: float


class Paused(msgspec.Struct, frozen=True, kw_only=True, tag="paused"):
    """An attempt stands still and goes on in the same session.

    Args:
        reason: "rate limit", "budget", "stopped" or "time".
        until: when the rate limit is lifted, in seconds since the epoch.
        worked: whether Claude had done something for the prompt.
        spent: by its session until then.
    """

    task: str
    attempt: int
    reason: str
    at: float
    until: float | None = None
    worked: bool = True
    spent: Spending = Spending()


class Resumed(msgspec.Struct, frozen=True, kw_only=True, tag="resumed"):
    """An attempt that stood still is about to go on."""

    task: str
    attempt: int
    at: float


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag="ended"):
    """An attempt has ended.

    Args:
        final: whether the task has ended with it.
    """

    result: Result
    final: bool
    at: float


class Reopened(msgspec.Struct, frozen=True, kw_only=True, tag="reopened"):
    """Tasks that had ended are to be begun again."""

    tasks: list[str]
    at: float


class Changed(msgspec.Struct, frozen=True, kw_only=True, tag="changed"):
    """Other limits hold from here on."""

    limits: Limits
    at: float


class Halted(msgspec.Struct, frozen=True, kw_only=True, tag="halted"):
    """A runner has left before the batch was done; `batch resume` goes on."""

    reason: str
    at: float


Entry = Began | Paused | Resumed | Ended | Reopened | Changed | Halted


class TaskState:
    """What is known of one task.

    Attributes:
        began: every attempt, oldest first.
        paused: why the last attempt stands still; None where it does not.
        last: how the last attempt ended; None while it is open, or where there was none.
        ended: whether the task has ended.
        tried: how many attempts count, since it was last reopened.
        since: when the last attempt was begun, or last gone on with, in seconds since the epoch.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.began: list[Began] = []
        self.paused: Paused | None = None
        self.last: Result | None = None
        self.ended = False
        self.tried = 0
        self.since = 0.0

    def begin(self, entry: Began) -> None:
        """Apply the beginning of an attempt."""
        self.began.append(entry)
        self.paused = self.last = None
        self.tried += 1
        self.since = entry.at

    def pause(self, entry: Paused) -> None:
        """Apply a pause of the open attempt."""
        self.paused = entry

    def resume(self, entry: Resumed) -> None:
        """Apply the resumption of the open attempt."""
        self.paused, self.since = None, entry.at

    def end(self, entry: Ended) -> None:
        """Apply the end of the open attempt."""
        self.last, self.paused, self.ended = entry.result, None, entry.final

    def reopen(self) -> None:
        """Note that the task is to be tried again, with all of its attempts."""
        self.ended, self.tried = False, 0

    @property
    def open(self) -> Began | None:
        """The attempt that has not ended."""
        return self.began[-1] if self.began and self.last is None else None

    @property
    def state(self) -> str:
        """What the task does, in a word or two."""
        if self.ended and self.last is not None:
            return str(self.last.outcome)
        if self.paused is not None:
            return f"paused: {self.paused.reason}"
        return "running" if self.open else "waiting"


class Runner(msgspec.Struct, frozen=True):
    """Who runs a batch, or did so last."""

    pid: int
    host: str
    at: float

    def __str__(self) -> str:
        return f"{self.pid}@{self.host} since {local_time(self.at)}"


def batches_folder(state: Path) -> Path:
    """Return the folder of all batches.

    Args:
        state: the state folder.
    """
    return state / "batches"


def batch_names(state: Path) -> list[str]:
    """Return the names of all batches, the newest first."""
    root = batches_folder(state)
    check_private(root)
    try:
        found = [entry for entry in os.scandir(root) if Path(entry.path, "batch.json").exists()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [each.name for each in sorted(found, key=lambda each: each.stat().st_mtime)][::-1]


def find_batch(state: Path, name: str | None) -> Path:
    """Return the folder of a batch; without a name that of the newest.

    Raises:
        UnknownSession: there is none.
    """
    names = batch_names(state)
    if name is None and names:
        return batches_folder(state) / names[0]
    if name in names and name is not None:
        return batches_folder(state) / name
    if name is None:
        raise UnknownSession("there is no batch yet; claude-mpm batch run TASKS begins one")
    near = nearest(name, names)
    hint = f"did you mean {near!r}?" if near else "`claude-mpm batch` lists them"
    raise UnknownSession(f"no batch {name!r} here; {hint}")


def create_batch(state: Path, plan: Plan, tasks: Sequence[Task]) -> Path:
    """Make the folder of a batch; it is one as soon as its plan is there.

    Raises:
        UsageError: there is one with this name, or the name is none.
        StorageError: it cannot be kept.
    """
    folder = batches_folder(state) / plan.name
    if len(plan.name) > _LONGEST_NAME or not re.fullmatch(ID_PATTERN, plan.name):
        raise UsageError(
            f"a batch cannot be called {plan.name!r}; use letters, digits, `.`, `_`, `-`"
        )
    if (folder / "batch.json").exists():
        raise UsageError(
            f"there is a batch {plan.name!r} already; claude-mpm batch resume {plan.name} goes on"
            " with it, --name gives another name"
        )
    with _storage(folder):
        check_private(state)
        make_private(folder)
        lines = b"".join(msgspec.json.encode(task) + b"\n" for task in tasks)
        _write_synced(folder / "tasks.jsonl", lines)
        _write_synced(folder / "batch.json", msgspec.json.encode(plan) + b"\n")
    return folder


class Ledger:
    """What is known of a batch, read from its folder.

    Attributes:
        folder: of the batch.
        plan: what it is.
        limits: those that hold now.
        tasks: the state of each task, by its id, in the order of the task file.
        halted: why the last runner left; empty where none has, or another has begun since.
        total: what all sessions have used, as far as the log has it.

    Raises:
        StorageError: the folder cannot be read, or is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        check_private(folder)
        self._log = -1
        with _storage(folder):
            self.plan = _decode(folder / "batch.json", (folder / "batch.json").read_bytes(), Plan)
            lines = (folder / "tasks.jsonl").read_bytes().splitlines()
        self.limits = self.plan.limits
        tasks = [_decode(folder / "tasks.jsonl", line, Task) for line in lines]
        self.tasks = {task.id: TaskState(task) for task in tasks}
        self.halted = ""
        self.total = Spending()
        self._spent: dict[str, Spending] = {}
        for entry in self._entries():
            self._apply(entry)

    @property
    def done(self) -> bool:
        """Whether every task has ended."""
        return all(state.ended for state in self.tasks.values())

    def results(self) -> list[Result]:
        """Return how each task ended that has, in the order of the task file."""
        return [state.last for state in self.tasks.values() if state.ended and state.last]

    def note(self, entry: Entry) -> None:
        """Add an entry to the log; it is on the disk when this returns.

        Raises:
            StorageError: the disk does not take it; then it has not happened.
        """
        file = self.folder / "log.jsonl"
        with _storage(file):
            if self._log < 0:
                self._log = open_log(file)
            append_line(self._log, msgspec.json.encode(entry) + b"\n")
        self._apply(entry)

    def close(self) -> None:
        """Close the log; safe to call twice."""
        if self._log >= 0:
            os.close(self._log)
            self._log = -1

    def _entries(self) -> Iterator[Entry]:
        file = self.folder / "log.jsonl"
        data = b""
        with _storage(file), contextlib.suppress(FileNotFoundError):
            data = file.read_bytes()
        for line in whole_lines(data):  # who was killed in the middle of one has not said it
            yield _decode(file, line, Entry)

    def _apply(self, entry: Entry) -> None:
        match entry:
            case Began():
                self._state(entry.task).begin(entry)
                self.halted = ""
            case Paused():
                state = self._state(entry.task)
                state.pause(entry)
                self._count(state.began[-1].session, entry.spent)
            case Resumed():
                self._state(entry.task).resume(entry)
                self.halted = ""
            case Ended(result=result):
                self._state(result.task).end(entry)
                self._count(result.session, Spending(result.cost_usd, result.tokens))
            case Reopened():
                for task in entry.tasks:
                    self._state(task).reopen()
            case Changed():
                self.limits = entry.limits
            case Halted():
                self.halted = entry.reason

    def _count(self, session: str, spent: Spending) -> None:
        before = self._spent.get(session, Spending())
        self._spent[session] = spent
        cost = self.total.cost_usd + spent.cost_usd - before.cost_usd
        self.total = Spending(cost, self.total.tokens + spent.tokens - before.tokens)

    def _state(self, task: str) -> TaskState:
        try:
            return self.tasks[task]
        except KeyError as error:
            raise StorageError(
                f"{self.folder}: the log names a task {task!r}, and the tasks do not"
            ) from error


class BatchLock:
    """Says who runs a batch: one at a time, and death releases it.

    Args:
        folder: of the batch.

    Raises:
        NotOwner: another runs it; the message says who.
        StorageError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with _storage(folder):
            self._descriptor = os.open(folder / "lock", flags, 0o600)
        try:
            self._take(folder)
            with _storage(folder):
                runner = Runner(os.getpid(), machine(), time.time())
                write_whole(folder / "runner.json", msgspec.json.encode(runner) + b"\n")
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise NotOwner(
                f"batch {folder.name!r} is run by {read_runner(folder) or 'another process'};"
                f" claude-mpm batch status {folder.name} shows it, batch stop {folder.name} ends it"
            ) from error
        except BaseException:
            close_lock(self._descriptor)
            raise

    def _take(self, folder: Path) -> None:
        """Take the lock; who only looks has it for a moment, too, and so has what a killed runner
        was just starting.

        Raises:
            BlockingIOError: another has it for longer.
        """
        nobody = threading.Event()
        for number in itertools.count(1):
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if number >= (_TRIES_AFTER_DEATH if _is_dead(read_runner(folder)) else _TRIES):
                    raise
                nobody.wait(_PAUSE)

    def __enter__(self) -> Self:
        """Hold it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go."""
        self.release()

    def release(self) -> None:
        """Let go; safe to call twice."""
        if self._descriptor >= 0:
            close_lock(self._descriptor)
            self._descriptor = -1


def current_runner(folder: Path) -> Runner | None:
    """Return who runs a batch at the moment; None where nobody does."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        runner = read_runner(folder)
        return None if _is_dead(runner) else runner
    finally:
        close_lock(descriptor)
    return None


def _is_dead(runner: Runner | None) -> bool:
    """Return whether a runner of this machine has ended; one of another may run."""
    return runner is not None and runner.host == machine() and not exists(runner.pid)


def read_runner(folder: Path) -> Runner | None:
    """Return who runs a batch, or did so last; None where nobody knows."""
    try:
        return msgspec.json.decode((folder / "runner.json").read_bytes(), type=Runner)
    except (FileNotFoundError, *NOT_JSON):
        return None


def _decode(file: Path, data: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except NOT_JSON as error:
        raise StorageError(f"{file}: damaged: {error}; what it had is lost") from error


def _write_synced(file: Path, data: bytes) -> None:
    write_whole(file, data)
    for path in (file, file.parent):
        sync_path(path)


@contextlib.contextmanager
def _storage(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into one clear line."""
    try:
        yield
    except StorageError:
        raise
    except BlockingIOError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        hint = "free some space, then claude-mpm batch resume" if full else "check the folder"
        raise StorageError(
            f"cannot keep the batch in {error.filename or path}: {error.strerror or error}; {hint}"
        ) from error
