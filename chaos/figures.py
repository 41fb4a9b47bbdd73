"""The figures of a scenario, and the report of all."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections import Counter
from importlib.metadata import version
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.claude_binary import find_claude
from claude_mpm.errors import ClaudeNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Figures(msgspec.Struct, kw_only=True):
    """What a scenario came to.

    Args:
        title: its heading.
        counts: how often each thing happened; what must not happen at all is in `must_not`.
        must_not: names of counts that have to be 0.
        seconds: measured times, by name; the report shows the median and the longest.
        measured: other figures, by name, each with its unit.
        played: how many cases each kind of Claude played.
        cases: rows of a table that has one for each case; its header comes first.
        problems: what went wrong, one line each.
        took: how long the scenario took, in seconds.
    """

    title: str
    must_not: tuple[str, ...] = ()
    counts: Counter[str] = msgspec.field(default_factory=Counter)
    seconds: dict[str, list[float]] = msgspec.field(default_factory=dict)
    measured: dict[str, str] = msgspec.field(default_factory=dict)
    played: Counter[str] = msgspec.field(default_factory=Counter)
    cases: list[tuple[str, ...]] = msgspec.field(default_factory=list)
    problems: list[str] = msgspec.field(default_factory=list)
    took: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether nothing went wrong."""
        return not self.problems and not any(self.counts[name] for name in self.must_not)

    def found(self, name: str, number: int, where: str) -> None:
        """Count what must not happen, and where it did."""
        self.counts[name] += number
        if number:
            self.problems.append(f"{where}: {name}: {number}")

    def add(self, other: Figures) -> None:
        """Add what a part of the scenario came to."""
        self.counts += other.counts
        self.played += other.played
        self.problems += other.problems
        for name, measured in other.seconds.items():
            self.seconds.setdefault(name, []).extend(measured)

    def measure(self, name: str, seconds: float) -> None:
        """Keep a measured time."""
        self.seconds.setdefault(name, []).append(seconds)


def report(scenarios: Iterable[Figures], seed: int, command: str) -> str:
    """Return the report as Markdown."""
    lines = ["# Chaos", "", f"`{command}`, seed {seed}; {_versions()}", ""]
    for figures in scenarios:
        lines += [f"## {figures.title}", "", _summary(figures), ""]
        table = figures.cases or [("what", "figure"), *_rows(figures).items()]
        lines += [_row(table[0]), _row(["---"] * len(table[0])), *map(_row, table[1:])]
        lines += ["", *(f"- {problem}" for problem in figures.problems[:50])]
        lines += [""] if figures.problems else []
    return "\n".join(lines).rstrip() + "\n"


def _versions() -> str:
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    try:
        asked = subprocess.run(
            [find_claude(), "--version"], capture_output=True, text=True, check=False
        )
        claude = f"Claude Code {asked.stdout.split()[0]}"
    except (ClaudeNotFound, OSError, IndexError):
        claude = "no Claude Code"
    return f"claude-mpm {version('claude-mpm')}, {claude}, {system}, {os.cpu_count()} cores"


def _summary(figures: Figures) -> str:
    state = "held" if figures.ok else "**broken**"
    played = ", ".join(f"{kind} {number}" for kind, number in figures.played.items() if number)
    summary = f"{state}, in {figures.took:.0f} s; Claude is played by: {played}"
    if figures.cases:
        broken = [f"{name} {figures.counts[name]}" for name in figures.must_not]
        summary += f"; {', '.join(broken)}"
    return summary


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rows(figures: Figures) -> Mapping[str, str]:
    names = [*(name for name in figures.counts if name not in figures.must_not), *figures.must_not]
    rows = {name: str(figures.counts[name]) for name in names}
    rows |= figures.measured
    for name, measured in figures.seconds.items():
        ordered = sorted(measured)
        rows[f"{name}, median"] = f"{ordered[len(ordered) // 2]:.2f} s"
        rows[f"{name}, longest"] = f"{ordered[-1]:.2f} s"
    return rows


class Clock:
    """Measures how long something takes."""

    def __init__(self) -> None:
        self._begin = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return time.monotonic() - self._begin
