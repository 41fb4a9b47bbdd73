"""The figures of a scenario, and the report of all."""

from __future__ import annotations

import platform
import time
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Figures(msgspec.Struct, kw_only=True):
    """What a scenario came to.

    Args:
        title: its heading.
        counts: how often each thing happened; what must not happen at all is in `must_not`.
        must_not: names of counts that have to be 0.
        seconds: measured times, by name; the report shows the median and the longest.
        problems: what went wrong, one line each.
        took: how long the scenario took, in seconds.
    """

    title: str
    must_not: tuple[str, ...] = ()
    counts: Counter[str] = msgspec.field(default_factory=Counter)
    seconds: dict[str, list[float]] = msgspec.field(default_factory=dict)
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

    def measure(self, name: str, seconds: float) -> None:
        """Keep a measured time."""
        self.seconds.setdefault(name, []).append(seconds)


def report(scenarios: Iterable[Figures], seed: int, command: str) -> str:
    """Return the report as Markdown."""
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    lines = ["# Chaos", "", f"`{command}`, seed {seed}, {system}", ""]
    for figures in scenarios:
        state = "held" if figures.ok else "**broken**"
        lines += [f"## {figures.title}", "", f"{state}, in {figures.took:.0f} s", ""]
        lines += ["| what | figure |", "| --- | --- |"]
        lines += [f"| {name} | {value} |" for name, value in _rows(figures).items()]
        lines += ["", *(f"- {problem}" for problem in figures.problems[:50])]
        lines += [""] if figures.problems else []
    return "\n".join(lines).rstrip() + "\n"


def _rows(figures: Figures) -> Mapping[str, str]:
    names = [*(name for name in figures.counts if name not in figures.must_not), *figures.must_not]
    rows = {name: str(figures.counts[name]) for name in names}
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
