"""A place of one's own: Claude behind `nice`, so that it never slows down what you do.

    python examples/nice_place.py "Explain this project"

Most places are just a command in front of a command, and that is all there is to write: `wrap`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from claude_mpm import MPMOrchestrator, create_orchestrator, register_orchestrator
from claude_mpm.environments.local import Local

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_mpm.environments.base import Environment


class Nice(Local):
    """This machine, at a lower priority."""

    name = "nice"

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """Return the command with `nice` in front."""
        return ["nice", "-n", "10", *argv]


class NiceOrchestrator(MPMOrchestrator):
    """Runs Claude on this machine at a lower priority."""

    name = "nice"

    @classmethod
    def place(cls) -> type[Environment]:
        """Return the place; its arguments are options of the orchestrator."""
        return Nice


register_orchestrator("nice", NiceOrchestrator)


def main(prompt: str) -> int:
    """Ask one thing, print the answer as it comes, and return the exit status."""
    with create_orchestrator("nice") as claude:
        turn = claude.ask(prompt, timeout=600)
        for line in turn:
            print(line)
        return int(turn.verdict.exit_status)


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:])))
