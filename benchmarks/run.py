"""Measures claude-mpm beside its peers: `python benchmarks/run.py [--quick] [NAMES]`.

NAMES are rows of the table, such as `a` or `c`; without any, all are measured.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import flowing
import keeping
import machine
import page
import peers
import starting
from harness import HERE, Figure, World

import fleet
import places
from claude_mpm.claude_binary import find_claude

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE = HERE.parent / "docs" / "benchmarks.md"
MEASURES: dict[str, Callable[[World], Iterator[Figure]]] = {
    **starting.FIGURES,
    **flowing.FIGURES,
    **keeping.FIGURES,
    **fleet.FIGURES,
    **places.FIGURES,
}
# The rows that a measure with a name of its own yields.
_ROWS = {"ef": "ef", "gh": "gh", "jk": "jk", "no": "no"}
_QUICK = ("a", "b", "b2", "c", "d", "ef", "i2", "l")


def main() -> None:
    """Measure what is asked for; write the page where all was measured at full size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="two minutes; writes no page")
    asked = parser.parse_args()
    whole = not asked.names and not asked.quick
    names = chosen(asked.names) if asked.names else list(_QUICK if asked.quick else MEASURES)
    found = peers.install()
    with tempfile.TemporaryDirectory(prefix="claude-mpm-bench-") as folder:
        claude = str(find_claude())
        data = machine.describe(claude)
        world = World(
            size="quick" if asked.quick else "full",
            folder=Path(folder) / "run",
            claude=claude,
            emitter=build_emitter(Path(folder)),
            peers=found,
        )
        figures = measure(world, names)
    if whole:
        versions = {name: peers.version(name, python) for name, python in found.items()}
        page.write(PAGE, figures, data, versions)
        print(f"written: {PAGE.relative_to(HERE.parent)}")
    sys.exit(0)


def measure(world: World, names: list[str]) -> list[Figure]:
    """Measure, and tell each figure as it comes."""
    figures = []
    for name in names:
        begun = time.monotonic()
        for figure in MEASURES[name](world):
            figures.append(figure)
            print(page.said(figure), flush=True)
        print(f"  {name}: {time.monotonic() - begun:.0f} s", flush=True)
    return sorted(figures, key=lambda figure: _order(figure.row))


def chosen(rows: list[str]) -> list[str]:
    """Return the measures that yield the rows."""
    names = []
    for row in rows:
        matching = [name for name in MEASURES if row == name or row in _ROWS.get(name, "")]
        if not matching:
            raise SystemExit(f"there is no measure {row!r}; there are: {', '.join(MEASURES)}")
        names += matching
    return list(dict.fromkeys(names))


def build_emitter(folder: Path) -> str | None:
    """Compile the stand-in for Claude; None where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        print("no C compiler `cc`: the measures that need one are left out")
        return None
    program = folder / "emitter"
    subprocess.run([compiler, "-O2", "-o", program, HERE / "emitter.c"], check=True)
    return str(program)


def _order(row: str) -> tuple[str, str]:
    return row[:1], row[1:]


if __name__ == "__main__":
    main()
