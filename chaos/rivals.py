"""Two controllers that take up one session at the same moment.

    python -m chaos.rivals

runs one of them: it reads a line with the options of an orchestrator, takes the session up, writes
a line with the outcome, and goes on with the next line; `null` releases the session.
"""

from __future__ import annotations

import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from chaos import command, environ
from chaos.figures import Clock, Figures
from chaos.world import World, worlds
from claude_mpm.errors import MPMError
from claude_mpm.journal import orphans
from claude_mpm.orchestration.orchestrator import MPMOrchestrator

if TYPE_CHECKING:
    from claude_mpm.testing.faults import Dice


class Outcome(msgspec.Struct, frozen=True):
    """The outcome of one attempt.

    Args:
        started: whether this one started Claude.
        attached: whether it follows the other's.
        owner: the process that has the session, as this one was told.
        said: the error, where there was one.
    """

    started: bool = False
    attached: bool = False
    owner: int = 0
    said: str = ""


def rivals(number: int, dice: Dice, share: float) -> Figures:
    """Let two controllers meet so many times."""
    figures = Figures(
        title="Two controllers resume one session",
        must_not=("both started Claude", "neither started Claude", "losers that were not told"),
    )
    clock = Clock()
    pair = [_Rival() for _ in range(2)]
    try:
        for make, cases in worlds(number, share):
            with make() as world:
                for _ in range(cases):
                    _meet(world, pair, figures)
            figures.counts[f"meetings, {make.kind}"] += cases
            figures.played[make.kind] += cases
    finally:
        for rival in pair:
            rival.end()
    figures.took = clock.seconds
    return figures


def _meet(world: World, pair: list[_Rival], figures: Figures) -> None:
    name = str(uuid.uuid4())
    options = world.options(name)
    with MPMOrchestrator(**options) as claude:
        claude.ask("hello").wait(60.0)
    folder = world.folder(name)
    starts = len(folder.read_meta().starts)
    for rival in pair:
        rival.send({**options, "resume": True})
    outcomes = [rival.receive() for rival in pair]
    new = len(folder.read_meta().starts) - starts
    where = f"{world.kind}, session {name}: {outcomes}"
    figures.found("both started Claude", int(new > 1), where)
    winners = [n for n, outcome in enumerate(outcomes) if outcome.started]
    figures.found("neither started Claude", int(len(winners) != 1), where)
    if winners:
        loser, winner = outcomes[1 - winners[0]], pair[winners[0]]
        told = loser.owner == winner.pid and (loser.attached or f"{winner.pid}@" in loser.said)
        figures.found("losers that were not told", int(not told), where)
        figures.counts[
            "losers that followed" if loser.attached else "losers that were refused"
        ] += 1
    for rival in pair:
        rival.send(None)
        rival.receive()
    orphans.end(folder.path)


class _Rival:
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            command("rivals"),
            env=environ(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.pid = self._process.pid
        self.receive()

    def send(self, options: dict[str, Any] | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(options) + b"\n")
        self._process.stdin.flush()

    def receive(self) -> Outcome:
        assert self._process.stdout is not None
        return msgspec.json.decode(self._process.stdout.readline(), type=Outcome)

    def end(self) -> None:
        self._process.communicate(timeout=60.0)


def main() -> None:
    """Be one of them."""
    claude: MPMOrchestrator | None = None
    _answer(Outcome())
    for line in sys.stdin.buffer:
        options = msgspec.json.decode(line)
        if options is not None:
            claude = MPMOrchestrator(**options)
            _answer(_try(claude))
        else:
            if claude is not None:
                claude.stop()
            _answer(Outcome())


def _try(claude: MPMOrchestrator) -> Outcome:
    try:
        claude.start_or_raise()
    except MPMError as error:
        owner = claude.owner
        return Outcome(owner=owner.pid if owner else 0, said=str(error))
    owner = claude.owner
    return Outcome(
        started=not claude.attached, attached=claude.attached, owner=owner.pid if owner else 0
    )


def _answer(outcome: Outcome) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
