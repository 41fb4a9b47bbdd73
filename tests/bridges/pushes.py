"""Tickets that are there to be pushed, and a push that is killed while it files one."""

from __future__ import annotations

import fcntl
from typing import TYPE_CHECKING

import pytest

from claude_mpm.testing.subject import until
from command import SECONDS, Command

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.testing import ScriptedModel


def tickets(command: Command, model: ScriptedModel, number: int, word: str = "go") -> None:
    model.on(word, "\n".join(f"TODO: clean room {n}" for n in range(number)))
    command("run", word)


def kill_a_push_that_files(command: Command, *to: str, begun: Path, gate: Path) -> None:
    """Kill a push in a call, and see that nobody else can push until the call has ended.

    Args:
        to: where it pushes to.
        begun: a file that the program that is called makes, once it is.
        gate: a FIFO that this program reads, and then ends.
    """
    killed = command.start("tickets", "push", *to, "--yes")
    until(begun.exists, "the program was not called")
    killed.kill()
    killed.wait(SECONDS)
    (lock,) = (command.state / "trackers").glob(".*.lock")
    with lock.open("rb") as other:
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            gate.write_text("")  # the program goes on, and ends
        fcntl.flock(other, fcntl.LOCK_EX)
