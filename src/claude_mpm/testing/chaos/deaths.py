"""Death at a random moment: of the controller, of Claude, of the host, of all at once."""

from __future__ import annotations

import signal
import subprocess
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from claude_mpm.fate import Fate
from claude_mpm.journal import leftovers
from claude_mpm.testing.chaos.controller import LOST, Task, spawn
from claude_mpm.testing.chaos.evidence import Evidence, gather
from claude_mpm.testing.chaos.faults import Dice, Killer
from claude_mpm.testing.chaos.figures import Clock, Figures
from claude_mpm.testing.chaos.world import PROMPTS, RealWorld, World, worlds

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PATIENCE = 120.0  # seconds for a controller that is left in peace
_KILLS_A_SESSION = 5
_MOST_STARTS = 40
_REMEMBERED = "commands that ran again: Claude had not written down that it ran them"

_OVER = (Fate.FINISHED, Fate.DROPPED)

Victims = tuple[str, ...]


def controllers_killed(number: int, dice: Dice, share: float) -> Figures:
    """Kill the controller at so many random moments."""
    figures = Figures(
        title="The controller is killed",
        must_not=(
            "lost events", "prompts without an answer", "repeated turns", "repeated commands",
            "repeated tickets", "sessions that could not be taken up", "processes left",
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
            "lost events", "repeated tickets", "sessions that could not be taken up",
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
                session = _Session(world, dice, victims, figures)
                done += session.disturb(min(_KILLS_A_SESSION, kills - done))
                session.check(strict=strict)
                figures.counts[f"sessions, {world.kind}"] += 1
        figures.counts[f"kills, {make.kind}"] += done
    figures.took = clock.seconds


class _Session:
    """One conversation that is disturbed again and again, and at last left in peace."""

    def __init__(self, world: World, dice: Dice, victims: Victims, figures: Figures) -> None:
        self._world = world
        self._dice = dice
        self._victim = victims[dice.number(0, len(victims) - 1)]
        self._figures = figures
        self._name = str(uuid.UUID(int=dice.number(0, (1 << 128) - 1), version=4))
        self._where = f"{world.kind}, {self._victim}, session {self._name}"
        options = world.options(self._name)
        if self._victim == "claude, revived":
            options["resume_lost"] = 10
        prompts = [f"step {number}" for number in range(PROMPTS)]
        self._task = Task(options=options, prompts=prompts, verdicts=str(self._verdicts))
        self._slowness = 2.5 if isinstance(world, RealWorld) else 1.0

    @property
    def _verdicts(self) -> Path:
        return self._world.path / f"{self._name}.verdicts"

    def disturb(self, kills: int) -> int:
        """Start controllers until all is answered; kill so often; return how often it was."""
        killed = 0
        said = ""
        for _ in range(_MOST_STARTS):
            controller = spawn(self._task)
            moment = self._dice.moment(0.1, 1.6 * self._slowness)
            if killed < kills:
                with (
                    Killer(moment, self._victims(controller)) as killer,
                    suppress(subprocess.TimeoutExpired),
                ):
                    controller.wait(
                        moment + 1.0 if self._victim != "claude, revived" else _PATIENCE
                    )
                killed += bool(killer.killed)
            status, said = self._end_of(controller)
            if status == 0:
                break
            if status not in (LOST, -signal.SIGKILL):
                self._figures.found(
                    "sessions that could not be taken up", 1, f"{self._where}: {said}"
                )
                break
        else:
            self._figures.found(
                "sessions that could not be taken up", 1, f"{self._where}: {said or 'no end'}"
            )
        return killed

    def _victims(self, controller: subprocess.Popen[bytes]) -> Callable[[], list[int]]:
        def find() -> list[int]:
            if self._victim == "controller":
                return [controller.pid]
            host, claude = self._world.folder(self._name).pids() or (0, 0)
            if not claude:
                return []
            if self._victim == "host":
                return [host]
            if self._victim == "all":
                mine = leftovers.marked().get(self._world.folder(self._name).path, [])
                return [controller.pid, host, claude, *mine]
            return [claude]

        return find

    def _end_of(self, controller: subprocess.Popen[bytes]) -> tuple[int, str]:
        try:
            _, errors = controller.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            controller.kill()
            controller.communicate()
            return 1, f"a controller hangs for {_PATIENCE:g} s"
        lines = errors.decode("utf-8", "replace").strip().splitlines()
        return controller.returncode, lines[-1] if lines else ""

    def check(self, *, strict: bool) -> None:
        """Compare what was promised with what happened."""
        before = len(self._figures.problems)
        found = gather(self._world, self._name, self._verdicts)
        figures, where = self._figures, self._where
        figures.counts["prompts"] += len(found.texts)
        figures.counts["lines torn"] += found.torn
        figures.found("lost events", found.lost_events, where)
        titles = len(found.tickets) - len(set(found.tickets))
        figures.found("repeated tickets", titles, where)
        left = leftovers.marked().get(self._world.folder(self._name).path, [])
        figures.found("processes left", len(left), where)
        (self._check_strictly if strict else self._check_fates)(found)
        self._world.keep = self._world.keep or len(figures.problems) > before
        if self._world.keep:
            figures.problems[-1] += f", see {self._world.path}"

    def _check_strictly(self, found: Evidence) -> None:
        """Claude lived all the time: whatever was put is done once."""
        figures, where = self._figures, self._where
        missing = PROMPTS - sum(1 for prompt in found.texts if prompt in found.results)
        figures.found("prompts without an answer", missing, where)
        turns = sum(len(results) - 1 for results in found.results.values())
        figures.found("repeated turns", turns + len(found.texts) - PROMPTS, where)
        figures.found("repeated commands", sum(n - 1 for n in found.ran.values()), where)

    def _check_fates(self, found: Evidence) -> None:
        """Claude died: each prompt has one result, or it is said that it has none."""
        figures, where = self._figures, self._where
        for prompt, text in found.texts.items():
            results, verdicts = found.results.get(prompt, []), found.verdicts.get(prompt, [])
            who = f"{where}, {text}"
            figures.found("prompts with two results", int(len(results) > 1), who)
            for verdict, size in verdicts:
                right = (verdict == "completed") == any(at < size for at in results)
                figures.found("wrong verdicts", int(not right), f"{who}: {verdict} at {size}")
            known = bool(results or verdicts) or found.fates[prompt] in _OVER
            figures.found("prompts of which nothing is known", int(not known), who)
            figures.counts["prompts completed" if results else "prompts reported as lost"] += 1
        figures.counts[_REMEMBERED] += sum(number - 1 for number in found.ran.values())
