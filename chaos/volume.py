"""A very long journal with a very long line: what it costs to read it, and to take it up.

    python -m chaos.volume < ORDER

runs a controller in a process of its own, so that its memory is its own: it does one step of the
scenario, writes what it has measured, and goes.
"""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from chaos import command, environ
from chaos.figures import Clock, Figures
from chaos.world import StandInWorld
from claude_mpm.journal import orphans
from claude_mpm.orchestration.orchestrator import MPMOrchestrator
from claude_mpm.testing.faults import kill

if TYPE_CHECKING:
    from claude_mpm.testing.faults import Dice

_A_TURN = 10_000  # events
_MB = 1 << 20
_LONGEST_LINE = 64  # MB
_MOST_GROWTH = 20  # MB, as long as it takes
_PATIENCE = 3600.0


class Order(msgspec.Struct, frozen=True):
    """What such a process is to do.

    Args:
        options: of the orchestrator.
        prompts: what is asked, one after the other.
        leave: whether Claude goes on when all is answered; else it is stopped.
        die: whether this process and Claude are killed in the last turn.
    """

    options: dict[str, Any]
    prompts: list[str] = []
    leave: bool = False
    die: bool = False


class Measured(msgspec.Struct):
    """What was measured.

    Args:
        begin: seconds until the session was taken up, or started.
        memory: the process's, in MB, after each prompt; the first is that before any.
        peak: the most that it ever had, in MB.
        took: seconds for all prompts.
    """

    begin: float = 0.0
    memory: list[float] = []
    peak: float = 0.0
    took: float = 0.0


def volume(events: int, _: Dice, __: float) -> Figures:
    """Fill a journal with so many events and a line, and take it up in every way."""
    turns = max(2, round(events / _A_TURN))
    length = min(_LONGEST_LINE, max(1, round(_LONGEST_LINE * events / 100_000)))
    figures = Figures(
        title="A very long journal, and a very long line",
        must_not=("events that the index lacks", "tickets lost", "MB of growth beyond 20"),
    )
    clock = Clock()
    with StandInWorld() as world:
        name = str(uuid.uuid4())
        each = max(1000, round(events / turns))
        prompts = [f"flood {each} {turn}" for turn in range(turns)]
        _fill(world, name, prompts, length * _MB, figures)
        _count(world, name, prompts, each, figures)
        _take_up(world, name, figures, f"with {len(prompts) * each:,} events")
        little = str(uuid.uuid4())
        _process(Order(world.options(little), ["hello"], leave=True))
        _take_up(world, little, figures, "with two turns")
    figures.played[StandInWorld.kind] += 1
    figures.took = clock.seconds
    return figures


def _fill(
    world: StandInWorld, name: str, prompts: list[str], length: int, figures: Figures
) -> None:
    options = world.options(name)
    read = _process(Order(options, ["hello", *prompts, f"line {length}", "hello"], leave=True))
    first, last, line = read.memory[2], max(read.memory[2:-2]), read.memory[-1]
    growth = last - first
    figures.measured |= {
        "the journal": f"{world.folder(name).journal.size() / _MB:,.0f} MB",
        "read, while Claude writes it": f"{read.took:.1f} s",
        "the controller's memory at the beginning": f"{read.memory[1]:.0f} MB",
        "growth of its memory over the events": f"{growth:.1f} MB",
        "its longest line": f"{length // _MB} MB",
        "most memory, with that line": f"{read.peak:.0f} MB",
        "memory after that line": f"{line:.0f} MB",
    }
    beyond = max(0, round(growth) - _MOST_GROWTH)
    figures.found("MB of growth beyond 20", beyond, f"memory: {read.memory}")


def _count(world: StandInWorld, name: str, prompts: list[str], each: int, figures: Figures) -> None:
    """Compare what the index has with what was said."""
    with MPMOrchestrator(**world.options(name), resume=True) as claude:
        position = claude.store.index.position(name)
        tickets = len(claude.store.index.tickets(name))
        claude.detach()
    said = len(prompts) * each
    figures.counts["events"] = position.events
    figures.counts["tickets"] = tickets
    figures.found("events that the index lacks", max(0, said - position.events), name)
    figures.found("tickets lost", max(0, said // 1000 - tickets), name)


def _take_up(world: StandInWorld, name: str, figures: Figures, what: str) -> None:
    """Take a session up in a fresh process: running, ended, and killed in the middle of a turn."""
    options = {**world.options(name), "resume": True}
    ways = {
        "Claude runs": Order(options),
        "Claude has ended": Order(options, ["stream"], die=True),
        "all was killed in a turn": Order(options),
    }
    for way, order in ways.items():
        begin = _process(order).begin
        while order.die and (left := orphans.marked().get(world.folder(name).path)):
            kill(left)  # again, where one was only starting, or needs its time to die
        figures.measured[f"taken up at its end, {what}; {way}"] = f"{begin:.2f} s"


def _process(order: Order) -> Measured:
    done = subprocess.run(
        command("volume"),
        env=environ(),
        input=msgspec.json.encode(order),
        stdout=subprocess.PIPE,
        timeout=_PATIENCE,
        check=True,
    )
    return msgspec.json.decode(done.stdout, type=Measured)


def main() -> None:
    """Do what the order says."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    measured = Measured()
    claude = MPMOrchestrator(**order.options)
    clock = Clock()
    claude.start_or_raise()
    measured.begin = clock.seconds
    measured.memory.append(_memory("VmRSS"))
    clock = Clock()
    for prompt in order.prompts:
        turn = claude.ask(prompt)
        for _ in turn:  # as it comes: what is read is not kept but by the turn
            if order.die:
                break
        del turn
        measured.memory.append(_memory("VmRSS"))
    measured.took = clock.seconds
    measured.peak = _memory("VmHWM")
    if order.leave or order.die:
        claude.detach()
    else:
        claude.stop()
    sys.stdout.buffer.write(msgspec.json.encode(measured))


def _memory(what: str) -> float:
    """Return a figure of this process's memory, in MB."""
    status = Path("/proc/self/status").read_text()
    found = next(line for line in status.splitlines() if line.startswith(f"{what}:"))
    return int(found.split()[1]) / 1024


if __name__ == "__main__":
    main()
