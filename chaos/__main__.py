"""Runs the scenarios, by a seed, and writes the report: `make chaos N=100 SEED=1`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chaos.batches import batches
from chaos.cluster import cluster
from chaos.deaths import claudes_killed, controllers_killed
from chaos.figures import Figures, report
from chaos.fleet import fleet
from chaos.pains import pains
from chaos.rivals import rivals
from chaos.stops import stops
from chaos.troubles import troubles
from chaos.volume import volume
from claude_mpm.testing.faults import Dice

if TYPE_CHECKING:
    from collections.abc import Callable

# Each scenario with its share of N, and how much of that share the real Claude Code plays. The
# pains are played once, and of the volume, N says how many events there are.
SCENARIOS: dict[str, tuple[Callable[[int, Dice, float], Figures], float, float]] = {
    "controller": (controllers_killed, 1.0, 0.1),
    "claude": (claudes_killed, 0.4, 0.15),
    "stop": (stops, 0.6, 0.2),
    "rivals": (rivals, 0.2, 0.1),
    "faults": (troubles, 0.3, 0.1),
    "batch": (batches, 0.1, 0.0),
    "fleet": (fleet, 0.1, 0.1),
    "pains": (pains, 1.0, 1.0),
    "volume": (volume, 2000.0, 0.0),
    "cluster": (cluster, 1.0, 1.0),
}
# The cluster is played where it is named: it needs a Kubernetes, which is built once.
BY_DEFAULT = tuple(name for name in SCENARIOS if name != "cluster")


def run(number: int, seed: int, names: tuple[str, ...], *, real: bool = True) -> list[Figures]:
    """Run scenarios and return their figures.

    Args:
        number: how many kills of the controller; the other scenarios follow in proportion.
        names: which scenarios.
        real: whether the real Claude Code plays its part.
    """
    done = []
    for name in names:
        scenario, part, share = SCENARIOS[name]
        cases = max(1, round(number * part))
        done.append(scenario(cases, Dice(seed, name), share if real else 0.0))
        sys.stderr.write(f"{done[-1].title}: {'held' if done[-1].ok else 'broken'}\n")
    return done


@click.command()
@click.option("--number", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--only", multiple=True, type=click.Choice(list(SCENARIOS)), help="A scenario.")
@click.option("--no-real", is_flag=True, help="Let the stand-in play Claude everywhere.")
@click.option("--output", type=click.Path(path_type=Path), help="The report's file.")
def main(
    number: int, seed: int, only: tuple[str, ...], output: Path | None, *, no_real: bool
) -> None:
    """Kill, stop and race, so many times, and report the outcome."""
    done = run(number, seed, only or BY_DEFAULT, real=not no_real)
    text = report(done, seed, f"make chaos N={number} SEED={seed}")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text)
    sys.stdout.write(text)
    sys.exit(not all(figures.ok for figures in done))


if __name__ == "__main__":
    main()
