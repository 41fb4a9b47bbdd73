"""One fault that is played, and what must come of it."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from chaos.beside import until
from chaos.figures import Clock, Figures
from chaos.world import RealWorld, StandInWorld, World
from claude_mpm.errors import MPMError
from claude_mpm.journal import orphans
from claude_mpm.orchestration.orchestrator import MPMOrchestrator
from claude_mpm.testing.residue import Remains

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from claude_mpm.conversation.turn import Turn

PATIENCE = 60.0  # seconds, after which a case hangs: each has deadlines of a few
_AT_ONCE = 6
_HANGS = "hangs"


class Played(msgspec.Struct, frozen=True):
    """A case that is under way.

    Args:
        world: where it takes place.
        claude: the orchestrator, which has started.
        turn: of the case's prompt.
    """

    world: World
    claude: MPMOrchestrator
    turn: Turn

    def until(self, happened: Callable[[], object]) -> None:
        """Wait until something has happened.

        Raises:
            TimeoutError: it did not.
        """
        until(happened, "what the case waits for does not happen", PATIENCE)


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What is played, and what must come of it.

    Args:
        name: what users suffer from.
        expected: the verdict's outcome, or the name of the error that a start must raise.
        because: what the verdict, or the error, must say.
        prompt: what Claude is asked.
        script: what the model then says to the real Claude Code; None lets the stand-in play it.
        options: of the orchestrator.
        environ: further variables of Claude's environment.
        during: called while the turn runs.
        after: called when it has ended, and before the session is stopped.
    """

    name: str
    expected: str
    because: str
    prompt: str = "go"
    script: tuple[Any, ...] | None = None
    options: Mapping[str, Any] = {}
    environ: Mapping[str, str] = {}
    during: Callable[[Played], None] | None = None
    after: Callable[[Played], None] | None = None

    @property
    def make(self) -> type[World]:
        """The kind of world that it takes place in."""
        return StandInWorld if self.script is None else RealWorld


def play(cases: Iterable[Case], figures: Figures) -> None:
    """Play cases, some at the same time, and note the outcome of each."""
    clock = Clock()
    figures.cases = [("case", "played by", "expected", "got", "took", "left behind")]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for case, found in pool.map(lambda case: (case, _Run(case).run()), cases):
            _note(case, found, figures)
    figures.took = clock.seconds


class _Found(msgspec.Struct):
    got: str = ""
    said: str = ""
    took: float = 0.0
    stop: float = 0.0
    left: list[str] = []


def _note(case: Case, found: _Found, figures: Figures) -> None:
    kind = case.make.kind
    where = f"{kind}, {case.name}: {found.said}"
    wrong = found.got != case.expected or case.because not in found.said
    figures.played[kind] += 1
    figures.found("hung", int(found.got == _HANGS), where)
    figures.found("wrong verdicts", int(wrong), f"{where} (wanted: {case.because})")
    figures.found("left behind", len(found.left), f"{where}: {found.left}")
    took = f"{found.took:.1f} s, stop {found.stop:.1f} s"
    figures.cases.append((case.name, kind, case.expected, found.got, took, str(len(found.left))))


class _Run:
    def __init__(self, case: Case) -> None:
        self._case = case
        self._found = _Found()

    def run(self) -> _Found:
        """Play it from start to stop."""
        found = self._found
        with self._case.make() as world:
            session = str(uuid.uuid4())
            claude = self._orchestrator(world, session)
            clock = Clock()
            try:
                self._converse(world, claude)
            except TimeoutError as error:
                found.got, found.said = _HANGS, str(error)
            except MPMError as error:
                found.got, found.said = type(error).__name__, str(error)
            found.took = clock.seconds
            clock = Clock()
            claude.stop()
            found.stop = clock.seconds
            found.left = list(_left(world, session))
        return found

    def _orchestrator(self, world: World, session: str) -> MPMOrchestrator:
        options = {**world.options(session), **self._case.options}
        options["environ"] = {**options["environ"], **self._case.environ}
        if isinstance(world, RealWorld):
            world.model.on(self._case.prompt, *(self._case.script or ()))
        return MPMOrchestrator(**options)

    def _converse(self, world: World, claude: MPMOrchestrator) -> None:
        claude.start_or_raise()
        played = Played(world, claude, claude.ask(self._case.prompt))
        if self._case.during is not None:
            self._case.during(played)
        verdict = played.turn.wait(PATIENCE).verdict
        self._found.got = str(verdict.outcome)
        self._found.said = "; ".join((verdict.reason, *verdict.evidence))
        if self._case.after is not None:
            self._case.after(played)


def _left(world: World, session: str) -> Iterator[str]:
    """Yield what is left of a session, one line each."""
    folder = world.folder(session)
    if folder.path.exists():
        yield from Remains(folder).found()
    for pid in orphans.marked().get(folder.path, []):
        yield f"process {pid} of its tools"
    temporary = Path(world.environ()["CLAUDE_CODE_TMPDIR"])
    yield from (f"temporary {each.name}" for each in temporary.glob("mpm.*"))
