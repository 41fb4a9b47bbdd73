"""A conversation that is disturbed, taken up again, and compared with what was promised."""

from __future__ import annotations

import signal
import subprocess
import uuid
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, Self

import msgspec

from chaos.controller import LOST, Task, spawn
from chaos.evidence import Evidence, gather
from chaos.world import PROMPTS, RealWorld
from claude_mpm.journal import orphans
from claude_mpm.sessions.delivery import Fate

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.figures import Figures
    from chaos.world import World
    from claude_mpm.testing.faults import Dice

PATIENCE = 120.0  # seconds for a controller that is left in peace
_MOST_STARTS = 40
_REMEMBERED = "commands that ran again: Claude had not written down that it ran them"
_OVER = (Fate.FINISHED, Fate.DROPPED)
NOT_TAKEN_UP = "sessions that could not be taken up"


class Strike(Protocol):
    """Something that is done to a conversation while a controller runs.

    Attributes:
        killed: how much it hit.
    """

    killed: int

    def __enter__(self) -> Self:
        """Begin to count."""
        ...

    def __exit__(self, *_: object) -> None:
        """Call it off."""
        ...


class Conversation(ABC):
    """One conversation that is disturbed again and again, and at last left in peace.

    Args:
        world: where it takes place.
        dice: when it is disturbed.
        figures: where the outcome is noted.
        trouble: what disturbs it.
    """

    def __init__(self, world: World, dice: Dice, figures: Figures, trouble: str) -> None:
        self._world = world
        self._dice = dice
        self._figures = figures
        self._trouble = trouble
        self._name = str(uuid.UUID(int=dice.number(0, (1 << 128) - 1), version=4))
        self._where = f"{world.kind}, {trouble}, session {self._name}"
        self._slowness = 2.5 if isinstance(world, RealWorld) else 1.0
        self._folder = world.folder(self._name)
        self._task = Task(
            options=world.options(self._name),
            prompts=[f"step {number}" for number in range(PROMPTS)],
            verdicts=str(self._verdicts),
        )

    @property
    def _verdicts(self) -> Path:
        return self._world.path / f"{self._name}.verdicts"

    @abstractmethod
    def _strike(self, controller: subprocess.Popen[bytes], moment: float) -> Strike:
        """Return what is to happen some seconds from now."""

    def _patience(self, moment: float) -> float:
        """Return how long the strike may take, in seconds."""
        return moment + 1.0

    def _change(self, **options: Any) -> None:
        changed = {**self._task.options, **options}
        self._task = msgspec.structs.replace(self._task, options=changed)

    def disturb(self, strikes: int) -> int:
        """Start controllers until all is answered; strike so often; return how often it hit."""
        hits = 0
        said = ""
        for _ in range(_MOST_STARTS):
            controller = spawn(self._task)
            moment = self._dice.moment(0.1, 1.6 * self._slowness)
            if hits < strikes:
                with (
                    self._strike(controller, moment) as strike,
                    suppress(subprocess.TimeoutExpired),
                ):
                    controller.wait(self._patience(moment))
                hits += bool(strike.killed)
            status, said = self._end_of(controller)
            if status == 0:
                return hits
            if status not in (LOST, -signal.SIGKILL):
                break
        self._figures.found(NOT_TAKEN_UP, 1, f"{self._where}: {said or 'no end'}")
        return hits

    def _end_of(self, controller: subprocess.Popen[bytes]) -> tuple[int, str]:
        try:
            _, errors = controller.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            controller.kill()
            controller.communicate()
            return 1, f"a controller hangs for {PATIENCE:g} s"
        lines = errors.decode("utf-8", "replace").strip().splitlines()
        return controller.returncode, lines[-1] if lines else ""

    def check(self, *, strict: bool) -> None:
        """Compare what was promised with what happened."""
        before = len(self._figures.problems)
        found = gather(self._world, self._name, self._verdicts)
        figures, where = self._figures, self._where
        figures.counts["prompts"] += len(found.texts)
        figures.counts["lines torn"] += found.torn
        lost = found.lost_events
        figures.found("lost events", len(lost), f"{where}: {'; '.join(lost)}" if lost else where)
        titles = len(found.tickets) - len(set(found.tickets))
        figures.found("repeated tickets", titles, where)
        marked = orphans.marked().items()
        left = [
            pid for path, pids in marked if path.is_relative_to(self._world.path) for pid in pids
        ]
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
