"""A controller in a process of its own, to be killed: it takes a session up and goes on with it.

    python -m chaos.controller < ORDER

It ends with status 0 once all was asked and answered, and with 3 when Claude was lost.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from chaos import command, environ
from claude_mpm.conversation.verdict import Outcome
from claude_mpm.errors import MPMError
from claude_mpm.journal.prompts import prompts
from claude_mpm.orchestration.factory import create_orchestrator
from claude_mpm.testing.faults import Dice, clock_jump, slow_reader

if TYPE_CHECKING:
    from claude_mpm.conversation.turn import Turn

LOST = 3


class Task(msgspec.Struct, frozen=True):
    """What such a process is to do.

    Args:
        options: of the orchestrator.
        prompts: what is asked, one after the other.
        verdicts: the file in which each verdict is noted.
        place: the orchestrator's name.
        jump: by how many seconds its clock on the wall is wrong.
        slow: how long it takes its time for each event, in seconds at most.
    """

    options: dict[str, Any]
    prompts: list[str]
    verdicts: str
    place: str = "local"
    jump: float = 0.0
    slow: float = 0.0


def spawn(task: Task) -> subprocess.Popen[bytes]:
    """Start the process; its standard error is a pipe."""
    process = subprocess.Popen(
        command("controller"),
        env=environ(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    with process.stdin as order:
        order.write(msgspec.json.encode(task))
    process.stdin = None
    return process


def main() -> int:
    """Do what the task says; return the exit status."""
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    with clock_jump(task.jump):
        return _converse(task)


def _converse(task: Task) -> int:
    options = dict(task.options)
    if task.slow:
        options["sinks"] = [slow_reader(Dice(0, "slow"), task.slow)]
    claude = create_orchestrator(task.place, **options)
    folder = claude.store.folder(claude.session_id)
    if folder.meta_file.exists():
        claude = create_orchestrator(task.place, **options, resume=True)
    claude.start_or_raise()
    lost = False
    for turn in claude.turns_before:
        lost = _note(turn, task, folder.journal.path) or lost
    for prompt in task.prompts[len(prompts(folder)) :]:
        lost = lost or _note(claude.ask(prompt), task, folder.journal.path)
    claude.stop()
    return LOST if lost else 0


def _note(turn: Turn, task: Task, journal: Path) -> bool:
    """Keep the outcome of a turn, and when in the journal that was; return whether it was lost."""
    turn.wait()
    note = {"uuid": turn.uuid, "outcome": turn.verdict.outcome, "size": journal.stat().st_size}
    with Path(task.verdicts).open("ab") as verdicts:
        verdicts.write(msgspec.json.encode(note) + b"\n")
    return turn.verdict.outcome is Outcome.LOST


if __name__ == "__main__":
    try:
        status = main()
    except (MPMError, OSError) as error:  # Claude was killed before it was asked; the disk is full
        sys.stderr.write(f"{error}\n")
        status = LOST
    sys.exit(status)
