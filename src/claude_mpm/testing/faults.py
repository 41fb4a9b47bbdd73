"""The faults: a kill, a stall, a cut, a slow reader, a full disk, a clock jump, a torn write."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self
from unittest import mock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path


class Dice:
    """All chance of a run; the same seed falls the same way.

    Args:
        seed: of the run.
        names: of a part of it, such as its scenario and number, which then has dice of its own.
    """

    def __init__(self, seed: int, *names: object) -> None:
        self._names = (seed, *names)
        self._random = random.Random(repr(self._names))

    def part(self, *names: object) -> Dice:
        """Return the random generator of a part, which is independent of all others."""
        return Dice(*self._names, *names)  # type: ignore[arg-type]

    def moment(self, least: float, most: float) -> float:
        """Return a time between two, in seconds."""
        return self._random.uniform(least, most)

    def number(self, least: int, most: int) -> int:
        """Return a whole number, both ends included."""
        return self._random.randint(least, most)

    def happens(self, share: float) -> bool:
        """Return whether something happens that does in a share of all cases."""
        return self._random.random() < share


def kill(pids: Iterable[int]) -> int:
    """Kill processes, as near to at once as can be; return how many there were."""
    killed = 0
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            killed += 1
    return killed


class Killer:
    """Kills processes some time after it was made, unless it is called off before.

    Args:
        after: seconds.
        victims: called when the time has come; returns their process ids.

    Attributes:
        killed: how many there were.
    """

    def __init__(self, after: float, victims: Callable[[], Iterable[int]]) -> None:
        self.killed = 0
        self._victims = victims
        self._timer = threading.Timer(after, self._strike)
        self._timer.daemon = True

    def _strike(self) -> None:
        self.killed = kill(self._victims())

    def __enter__(self) -> Self:
        """Begin to count."""
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Call it off."""
        self._timer.cancel()
        self._timer.join()


@contextmanager
def stall(pid: int) -> Iterator[None]:
    """Let a process stand still for a while, as one that waits for its disk does."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def cuts(dice: Dice, least: int, most: int) -> Callable[[], int]:
    """Return what a `CutProxy` asks how many bytes a connection may carry."""
    return lambda: dice.number(least, most)


def slow_reader(dice: Dice, most: float) -> Callable[[object], None]:
    """Return a sink, or a hook, that takes its time for each event: up to `most` seconds."""
    nobody = threading.Event()

    def read(_: object) -> None:
        nobody.wait(dice.moment(0, most))

    return read


@contextmanager
def full_disk(pid: int) -> Iterator[None]:
    """Let no file of a process grow; Linux only.

    It gets the error that the file is too large (EFBIG), where a full disk gives ENOSPC. Python
    ignores SIGXFSZ; a process that does not is killed.
    """
    import resource

    most, least = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, least))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, least))


@contextmanager
def clock_jump(seconds: float) -> Iterator[None]:
    """Let the clock on the wall, which anybody can set, show another time in this process."""
    now = time.time
    with mock.patch("time.time", lambda: now() + seconds):
        yield


def tear(journal: Path, dice: Dice) -> bytes:
    """Take the end of the last line away, as a power cut does; return what was taken."""
    data = journal.read_bytes()
    begin = data.rstrip(b"\n").rfind(b"\n") + 1
    if begin >= len(data):
        return b""
    keep = begin + dice.number(1, max(1, len(data) - begin - 1))
    os.truncate(journal, keep)
    return data[keep:]
