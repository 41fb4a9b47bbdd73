"""A stop in every state that a session can be in: nothing is left, and it does not take long."""

from __future__ import annotations

import threading
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.beside import settled
from chaos.figures import Clock, Figures
from chaos.world import World, worlds
from claude_mpm.conversation.question import Question
from claude_mpm.errors import MPMError
from claude_mpm.journal import orphans
from claude_mpm.orchestration.orchestrator import MPMOrchestrator
from claude_mpm.testing.residue import Remains
from claude_mpm.wire.events import Event

if TYPE_CHECKING:
    from claude_mpm.testing.faults import Dice

STATES = ("starting", "idle", "stream", "tool", "background", "ask")
_PATIENCE = 60.0
_OF_THE_MODEL = ("socket:", "anon_inode:[eventpoll]")  # it is served by threads of this process


def stops(number: int, dice: Dice, share: float) -> Figures:
    """Stop so many sessions, in one state after the other."""
    figures = Figures(
        title="Stops in every state",
        must_not=(
            "processes left", "files and FIFOs left", "temporary files left", "threads left",
            "descriptors left", "stops that failed",
        ),
    )  # fmt: skip
    clock = Clock()
    for make, cases in worlds(number, share):
        with make() as world:
            for case in range(cases):
                one = _Stop(world, STATES[case % len(STATES)], dice, figures)
                try:
                    one.run()
                except MPMError as error:
                    figures.found("stops that failed", 1, f"{one.where}: {error}")
            figures.played[make.kind] += cases
    figures.took = clock.seconds
    return figures


class _Stop:
    def __init__(self, world: World, state: str, dice: Dice, figures: Figures) -> None:
        self._state = state
        self._dice = dice
        self._figures = figures
        self._name = str(uuid.uuid4())
        self._folder = world.folder(self._name)
        self.where = f"{world.kind}, {state}, session {self._name}"
        options = world.options(self._name)
        if state == "ask":
            options["permissions"] = "ask"
        options["partial"] = True
        self._claude = MPMOrchestrator(**options)
        self._temporary = Path(options["environ"]["CLAUDE_CODE_TMPDIR"])

    def run(self) -> None:
        """Bring a session into its state, stop it, and look at what is left."""
        threads, descriptors = _threads(), _descriptors()
        if self._state == "starting":
            starting = threading.Thread(target=self._claude.start)
            starting.start()
            threading.Event().wait(self._dice.moment(0.0, 0.6))
            self._stop()
            starting.join()
            self._claude.stop()
        else:
            self._claude.start_or_raise()
            self._reach()
            self._stop()
        figures, where = self._figures, self.where
        figures.counts[f"stops, {self._state}"] += 1
        left = [each for each in Remains(self._folder).found() if not each.startswith("process")]
        figures.found("files and FIFOs left", len(left), f"{where}: {left}")
        processes = orphans.marked().get(self._folder.path, [])
        figures.found("processes left", len(processes), where)
        kept = [each.name for each in self._temporary.glob("mpm.*")]
        figures.found("temporary files left", len(kept), f"{where}: {kept}")
        figures.found(
            "threads left", settled(lambda: max(0, _threads() - threads), _PATIENCE), where
        )
        more = settled(lambda: max(0, len(_descriptors()) - len(descriptors)), _PATIENCE)
        new = sorted(set(_descriptors()) - set(descriptors)) if more else []
        figures.found("descriptors left", more, f"{where}: {new}")

    def _stop(self) -> None:
        clock = Clock()
        self._claude.stop()
        self._figures.measure("stop", clock.seconds)
        self._figures.measure(f"stop, {self._state}", clock.seconds)

    def _reach(self) -> None:
        if self._state == "idle":
            return
        turn = self._claude.ask(self._state)
        if self._state == "background":
            turn.wait(_PATIENCE)
            return
        for item in turn.stream():
            if self._state == "ask" and isinstance(item, Question):
                return
            if self._state == "stream" and isinstance(item, str):
                return
            if self._state == "tool" and _starts_tool(item) and self._runs_tool():
                return

    def _runs_tool(self) -> bool:
        """Wait until the command is there, with what it starts."""

        def is_missing() -> bool:
            return len(orphans.marked().get(self._folder.path, [])) <= _OF_AN_IDLE_SESSION

        return not settled(is_missing, _PATIENCE)


_OF_AN_IDLE_SESSION = 4  # the host with its two helpers, and Claude


def _starts_tool(item: object) -> bool:
    """Return whether Claude has asked for a tool; the stand-in just says that it runs one."""
    return isinstance(item, Event) and item.kind == "assistant"


def _threads() -> int:
    return sum(thread.name.startswith("claude-mpm") for thread in threading.enumerate())


def _descriptors() -> list[str]:
    """Return what this process holds open, but for what is the scripted model's."""
    held = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            held.append(str(entry.readlink()))
    return [each for each in held if not each.startswith(_OF_THE_MODEL)]
