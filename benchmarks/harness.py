"""Runs sides of a comparison in turn, and makes figures of what they measured."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

HERE = Path(__file__).parent
PATIENCE = 600.0  # seconds for one run of one side
Numbers = dict[str, float]


@dataclass(frozen=True)
class Figure:
    """One measured row of the table.

    Args:
        row: its letter.
        what: what is compared.
        value, low, high: the ratio (or difference) of medians, and its spread over the rounds.
        target: what it must reach.
        at_least: whether more is better; else less is.
        unit: what stands behind the value.
        sides: each side's median, in words.
        note: what the sides do.
        bars: the seconds of each side, where a picture shows them.
    """

    row: str
    what: str
    value: float
    low: float
    high: float
    target: float | None
    at_least: bool = False
    unit: str = "×"
    sides: dict[str, str] = field(default_factory=dict)
    note: str = ""
    bars: dict[str, float] = field(default_factory=dict)

    @property
    def reached(self) -> bool:
        """Whether the target is reached."""
        if self.target is None:
            return True
        return self.value >= self.target if self.at_least else self.value <= self.target


@dataclass(frozen=True)
class World:
    """What every measure is given.

    Args:
        size: "full", "quick" or "smallest".
        folder: for its files; emptied before each measure.
        claude: the real Claude Code.
        emitter: the program that stands in for it; None where there is no C compiler.
        peers: the Python of each peer that is installed.
    """

    size: str
    folder: Path
    claude: str
    emitter: str | None
    peers: Mapping[str, str]

    def pick(self, full: int, quick: int, smallest: int) -> int:
        """Return what fits the size of the run."""
        return {"full": full, "quick": quick, "smallest": smallest}[self.size]

    def fresh(self) -> Path:
        """Return an empty folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        return self.folder


def interleave(rounds: int, **sides: Callable[[], Numbers]) -> dict[str, list[Numbers]]:
    """Run all sides once, then again, …; return what each measured in each round."""
    found: dict[str, list[Numbers]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            found[name].append(side())
    return found


def median(runs: Sequence[Numbers], name: str) -> float:
    """Return the median of one number over the rounds."""
    return statistics.median(run[name] for run in runs)


def ratio(
    above: Sequence[Numbers], below: Sequence[Numbers], name: str
) -> tuple[float, float, float]:
    """Return the ratio of the medians, and the least and greatest ratio of a round."""
    each = [a[name] / b[name] for a, b in zip(above, below, strict=True)]
    return median(above, name) / median(below, name), min(each), max(each)


def difference(
    above: Sequence[Numbers], below: Sequence[Numbers], name: str, factor: float = 1e3
) -> tuple[float, float, float]:
    """Return the difference of the medians, and its least and greatest value in a round."""
    each = [(a[name] - b[name]) * factor for a, b in zip(above, below, strict=True)]
    return (median(above, name) - median(below, name)) * factor, min(each), max(each)


def alone(runs: Sequence[Numbers], name: str, factor: float = 1.0) -> tuple[float, float, float]:
    """Return the median of a number, and its least and greatest value."""
    each = [run[name] * factor for run in runs]
    return statistics.median(each), min(each), max(each)


def script(
    name: str,
    *arguments: object,
    python: str = sys.executable,
    env: Mapping[str, str] | None = None,
) -> Numbers:
    """Run a script of `sides/` in a process of its own and return the numbers that it prints."""
    done = subprocess.run(
        [python, str(HERE / "sides" / f"{name}.py"), *map(str, arguments)],
        env=dict(os.environ if env is None else env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr.strip()[-2000:]}")
    numbers: Numbers = json.loads(done.stdout.splitlines()[-1])
    return numbers


@contextlib.contextmanager
def files_open(count: int) -> Iterator[None]:
    """Allow this process and its children as many open files as `count`, or as many as may be."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def seconds(value: float) -> str:
    """Return a time as a person reads it."""
    if value < 0.001:
        return f"{value * 1e6:.0f} µs"
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.2f} s"


def thousands(value: float) -> str:
    """Return a rate as a person reads it."""
    return f"{value:,.0f}/s"
