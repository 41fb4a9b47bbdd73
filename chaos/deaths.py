"""Death at a random moment: of the controller, of Claude, of the host, of all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.conversation import NOT_TAKEN_UP, PATIENCE, Conversation
from chaos.figures import Clock, Figures
from chaos.world import World, worlds
from claude_mpm.journal import orphans
from claude_mpm.testing.faults import Dice, Killer

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

_KILLS_A_SESSION = 5

Victims = tuple[str, ...]


def controllers_killed(number: int, dice: Dice, share: float) -> Figures:
    """Kill the controller at so many random moments."""
    figures = Figures(
        title="The controller is killed",
        must_not=(
            "lost events", "prompts without an answer", "repeated turns", "repeated commands",
            "repeated tickets", NOT_TAKEN_UP, "processes left",
        ),
    )  # fmt: skip
    _run(figures, number, dice, share, ("controller",), strict=True)
    return figures


def claudes_killed(number: int, dice: Dice, share: float) -> Figures:
    """Kill Claude at so many random moments; its host or its controller at times as well."""
    figures = Figures(
        title="Claude is killed",
        must_not=(
            "prompts with two results", "wrong verdicts", "prompts of which nothing is known",
            "lost events", "repeated tickets", NOT_TAKEN_UP,
            "processes left",
        ),
    )  # fmt: skip
    _run(figures, number, dice, share, ("claude", "host", "all", "claude, revived"), strict=False)
    return figures


def _run(
    figures: Figures, number: int, dice: Dice, share: float, victims: Victims, *, strict: bool
) -> None:
    clock = Clock()
    for make, kills in worlds(number, share):
        done = 0
        while done < kills:
            with make() as world:
                session = _Killed(world, dice, victims, figures)
                done += session.disturb(min(_KILLS_A_SESSION, kills - done))
                session.check(strict=strict)
                figures.counts[f"sessions, {world.kind}"] += 1
        figures.counts[f"kills, {make.kind}"] += done
        figures.played[make.kind] += done
    figures.took = clock.seconds


class _Killed(Conversation):
    def __init__(self, world: World, dice: Dice, victims: Victims, figures: Figures) -> None:
        super().__init__(world, dice, figures, victims[dice.number(0, len(victims) - 1)])
        if self._trouble == "claude, revived":
            self._change(resume_lost=10)

    def _patience(self, moment: float) -> float:
        return super()._patience(moment) if self._trouble != "claude, revived" else PATIENCE

    def _strike(self, controller: subprocess.Popen[bytes], moment: float) -> Killer:
        return Killer(moment, self._victims(controller))

    def _victims(self, controller: subprocess.Popen[bytes]) -> Callable[[], list[int]]:
        def find() -> list[int]:
            if self._trouble == "controller":
                return [controller.pid]
            host, claude = self._folder.pids() or (0, 0)
            if not claude:
                return []
            if self._trouble == "host":
                return [host]
            if self._trouble == "all":
                mine = orphans.marked().get(self._folder.path, [])
                return [controller.pid, host, claude, *mine]
            return [claude]

        return find
