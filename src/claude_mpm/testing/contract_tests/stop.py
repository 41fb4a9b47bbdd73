"""A stop ends everything, whenever and from wherever it is called."""

from __future__ import annotations

import os
import secrets
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claude_mpm.errors import SessionEnded
from claude_mpm.testing.script import Call, Stall
from claude_mpm.testing.subject import over, until

if TYPE_CHECKING:
    from claude_mpm.testing.residue import Remains
    from claude_mpm.testing.subject import Subject

# A child that leaves the process group, and where there is `setsid` the session as well.
_WANDER = "set -m; (exec $(command -v setsid) sleep {0} </dev/null >/dev/null 2>&1 &)"
# The bracket keeps the search from finding itself.
_FIND = "grep -lzx '{0}[{1}]' /proc/[0-9]*/cmdline 2>/dev/null | wc -l"


def stop_before_start_does_nothing(subject: Subject) -> None:
    """A program that cleans up after a failed start would fail once more."""
    claude = subject.claude()
    claude.stop()
    assert not claude.running, "it says that it runs"


def stop_twice_is_as_once(subject: Subject) -> None:
    """A program that cleans up twice, as `with` after a stop does, would fail or hang."""
    claude = subject.started()
    subject.says(claude, "Here.")
    claude.stop()
    claude.stop()
    assert not claude.running, "it says that it runs"
    assert claude.process.poll() is not None, "its process runs still"
    try:
        claude.send_input("too late")
    except SessionEnded:
        return
    raise AssertionError("a prompt after the end was taken, and nobody will answer it")


def stop_from_a_hook_ends_the_session(subject: Subject) -> None:
    """A hook that has seen enough, a limit of cost for instance, could not end the session."""
    called = threading.Event()

    def enough(event: Any) -> None:
        if event.kind == "assistant" and not called.is_set():
            called.set()
            claude.stop()

    claude = subject.started(sinks=[enough])
    working = Call("Bash", command="echo working")
    over(subject.asks(claude, "The first words.", working, Stall(), "never said"))
    assert called.is_set(), "the hook saw nothing of the answer"
    until(lambda: not claude.running, "it runs still after stop() in a hook")
    nothing_of(subject.remains(claude))


def stop_in_the_middle_of_a_turn_ends_the_turn(subject: Subject) -> None:
    """A caller that waits for the answer would wait forever."""
    claude = subject.started()
    turn = subject.asks(claude, Stall(), "never said")
    subject.model.wait_for_stall()
    claude.stop()
    assert not over(turn).verdict.ok, "the turn counts as completed"
    assert "never said" not in turn.text, "it was said anyway"


def children_that_wandered_off_are_swept(subject: Subject) -> None:
    """Servers and loops that Claude started would run on, one more with each session."""
    seconds = str(80_000 + secrets.randbelow(9_000))
    find = _FIND.format(seconds[:-1], seconds[-1])
    claude = subject.started()
    session = subject.runs(claude, f"{_WANDER.format(seconds)}; echo $CLAUDE_MPM_SESSION")
    assert session.startswith(claude.session_id), (
        f"CLAUDE_MPM_SESSION is {session!r} in the place, and does not begin with the session's"
        f" name, {claude.session_id!r}: what it left behind cannot be found"
    )
    until(lambda: int(subject.runs(claude, find)) == 1, "the child did not outlive its shell")
    claude.stop()
    nothing_of(subject.remains(claude))
    left = int(subject.runs(subject.started(), find))
    assert not left, "a child of the session's runs on in the place"


def two_sessions_do_not_see_each_other(subject: Subject) -> None:
    """Answers would get mixed up, and the end of one would end the other."""
    first, second = subject.started(), subject.started()
    for each in (first, second):
        name = subject.runs(each, "echo $CLAUDE_MPM_SESSION")
        assert name.startswith(each.session_id), f"{each.session_id} is called {name!r}"
    turns = [
        subject.asks(each, f"To {name}.", Stall(), f" From {name}.")
        for each, name in ((first, "first"), (second, "second"))
    ]
    subject.model.wait_for_stall()
    first.stop()
    over(turns[0])
    assert subject.released(turns[1]).verdict.ok, (
        f"the other turn did not complete: {turns[1].verdict}"
    )
    assert turns[1].text == "To second. From second.", f"it says {turns[1].text!r}"
    assert "second" not in turns[0].text, "one session has the answer of the other"
    subject.says(second, "Still here.")


def nothing_is_left_behind(subject: Subject) -> None:
    """A machine that runs many sessions would fill with processes, files and descriptors."""
    _conversation(subject)  # what is made once, with the first, is not left behind by each
    threads, descriptors = _threads(), _descriptors()
    claude = _conversation(subject)
    nothing_of(subject.remains(claude))
    until(lambda: _threads() <= threads, lambda: f"left behind: threads {_threads() - threads}")
    until(
        lambda: len(_descriptors()) <= len(descriptors),
        lambda: f"left behind: file descriptors {_descriptors() - descriptors}",
    )


def _conversation(subject: Subject) -> Any:
    claude = subject.started()
    subject.says(claude, "Here.")
    claude.stop()
    return claude


def nothing_of(remains: Remains) -> None:
    """Wait until nothing of a session is left; a shared connection may take its time to end."""
    until(lambda: not remains.found(), lambda: f"left behind: {'; '.join(remains.found())}")


def _threads() -> set[str]:
    return {f"{thread.name} ({thread.ident})" for thread in threading.enumerate()}


def _descriptors() -> set[str]:
    """Return the open files of this process, each with what it leads to where that can be told."""
    folder = Path("/dev/fd")
    return {f"{name} ({os.path.realpath(folder / name)})" for name in os.listdir(folder)}
