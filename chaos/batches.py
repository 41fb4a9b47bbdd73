"""The runner of a batch is killed again and again; whoever comes next goes on."""

from __future__ import annotations

import os
import subprocess
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import msgspec

from chaos.beside import settled
from chaos.conversation import PATIENCE
from chaos.figures import Clock, Figures
from chaos.world import worlds
from claude_mpm.fleet.ledger import Ledger, batches_folder
from claude_mpm.journal import orphans
from claude_mpm.own_python import own_environ, own_python
from claude_mpm.sessions.store import Store
from claude_mpm.testing.faults import Killer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from chaos.world import World
    from claude_mpm.testing.faults import Dice

_NAME = "batch"
_TASKS_PER_KILL, _AT_ONCE = 4, 8
MUST_NOT = (
    "tasks without an outcome", "tasks that did not pass", "prompts that ran twice",
    "attempts that nobody knows of", "costs that do not add up", "runners that failed",
    "processes left",
)  # fmt: skip
_COMMAND = "from claude_mpm.cli.main import main; main()"


def batches(number: int, dice: Dice, share: float) -> Figures:
    """Kill the runner of a batch so many times."""
    figures = Figures(title="The runner of a batch is killed", must_not=MUST_NOT)
    return play_in(worlds(number, share), KilledBatch, dice, figures)


def play_in(
    where: Iterable[tuple[type[World], int]], kind: type[KilledBatch], dice: Dice, figures: Figures
) -> Figures:
    """Play a batch in each world, and return the figures.

    Args:
        where: the worlds, each with how often the runner is killed in it; 0 leaves it out.
    """
    clock = Clock()
    for make, kills in where:
        if kills:
            with make() as world:
                kind(world, dice.part(make.kind), figures, kills).play()
                world.keep = not figures.ok
            figures.played[make.kind] += kills * _TASKS_PER_KILL
    figures.took = clock.seconds
    return figures


class KilledBatch:
    """A batch whose runner is killed so many times, and what is there in the end."""

    def __init__(self, world: World, dice: Dice, figures: Figures, kills: int) -> None:
        self.world = world
        self.dice = dice
        self.figures = figures
        self._kills = kills
        self._tasks = [f"t{n}" for n in range(kills * _TASKS_PER_KILL)]
        self.slow = 4.0 if world.kind == "Claude Code" else 1.0

    def where(self) -> list[str]:
        """Return the flags that name the places."""
        return ["--on", f"local:{_AT_ONCE}"]

    def settings(self) -> dict[str, str]:
        """Return further variables of the runner."""
        return {}

    def trouble(self, moment: float | None) -> AbstractContextManager[object]:
        """Return what else happens while the runner runs.

        Args:
            moment: the seconds after which the runner is killed; None where it is not.
        """
        return nullcontext()

    @property
    def folder(self) -> Path:
        """The batch's folder."""
        return batches_folder(self.world.state) / _NAME

    def play(self) -> None:
        """Begin the batch, kill its runner, go on, and look at what is there in the end."""
        file = self.world.path / "tasks.jsonl"
        tasks = (
            {"id": task, "prompt": f"step {n % 5}", "cwd": str(self.world.cwd(task))}
            for n, task in enumerate(self._tasks)
        )
        file.write_bytes(b"".join(msgspec.json.encode(task) + b"\n" for task in tasks))
        killed = 0
        for _ in range(self._kills):
            begun = (self.folder / "batch.json").exists()
            words = ["resume", _NAME] if begun else ["run", str(file), "--name", _NAME]
            killed += self._run(words, self.dice.moment(0.2, 2.5) * self.slow)
        self.figures.counts[f"kills, {self.world.kind}"] += killed
        begun = (self.folder / "batch.json").exists()
        self._run(["resume", _NAME] if begun else ["run", str(file), "--name", _NAME], None)
        self.look()

    def _run(self, words: list[str], moment: float | None) -> int:
        """Run the command, kill it after a moment, and return whether it was killed."""
        words = [*words, *self.where(), "--no-framework"]
        words += ["--permission-mode", "bypassPermissions"] if words[0] == "run" else []
        process = subprocess.Popen(
            own_python("-c", _COMMAND, "batch", *words),
            env=self._environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=self.world.path,
        )
        patience = PATIENCE * self.slow if moment is None else moment + PATIENCE
        with (
            Killer(moment if moment is not None else patience, lambda: [process.pid]) as killer,
            self.trouble(moment),
        ):
            _, said = process.communicate(timeout=patience + 10)
        if process.returncode > 0 or (moment is None and process.returncode):
            self.figures.found("runners that failed", 1, said.decode("utf-8", "replace")[-400:])
        return killer.killed

    def _environ(self) -> dict[str, str]:
        linger = "0.3" if self.dice.happens(0.5) else "30"
        ours = {
            "CLAUDE_PATH": self.world.claude(),
            "CLAUDE_MPM_STATE_DIR": str(self.world.state),
            "CLAUDE_MPM_LINGER": linger,
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            **self.settings(),
        }
        return own_environ({**self.world.environ(), **ours})

    # --- the outcome --------------------------------------------------------------------

    def look(self) -> None:
        """Look at what is there in the end."""
        ledger, figures, kind = Ledger(self.folder), self.figures, self.world.kind
        store = Store(self.world.state)
        begun = [began for state in ledger.tasks.values() for began in state.began]
        known = {began.session for began in begun}
        there = {folder.path.name for folder in store.folders()}
        figures.counts[f"tasks, {kind}"] += len(self._tasks)
        figures.counts[f"attempts, {kind}"] += len(begun)
        figures.found("attempts that nobody knows of", len(there - known), f"{there - known}")
        spent = 0.0
        for task, state in ledger.tasks.items():
            result = state.last if state.ended else None
            figures.found("tasks without an outcome", int(result is None), task)
            if result is not None:
                figures.found("tasks that did not pass", int(not result.ok), f"{task}: {result}")
            self._count_runs(task, len(state.began))
            spent += sum(self._cost(began.session) for began in state.began)
        gap = abs(spent - ledger.total.cost_usd) > 1e-6
        figures.found("costs that do not add up", int(gap), f"{spent} {ledger.total}")
        store.close()
        left = settled(self.left, PATIENCE)
        figures.found("processes left", len(left), str(left))

    def _count_runs(self, task: str, attempts: int) -> None:
        """Look into the folder of a task: its command adds a line each time that it is run."""
        file = self.world.cwd(task) / "ran"
        runs = len(file.read_text().splitlines()) if file.exists() else 0
        where = f"{task}: {runs} runs, {attempts} attempts"
        self.figures.found("prompts that ran twice", int(runs > attempts), where)

    def _cost(self, session: str) -> float:
        """Return what a session cost, by the results in its journal."""
        total, last = 0.0, 0.0
        journal = self.world.folder(session).journal.path
        lines = journal.read_bytes().splitlines() if journal.exists() else []
        for line in lines:
            event: dict[str, Any] = msgspec.json.decode(line)
            if event.get("type") == "result":
                now = float(event["total_cost_usd"])
                total += now - last if now >= last else now
                last = now
        return total

    def left(self) -> list[int]:
        """Return the processes of the batch's sessions that are left."""
        ours = self.world.state / "sessions"
        found = orphans.marked()
        return [pid for path, pids in found.items() if path.parent == ours for pid in pids]
