"""Anything may be killed at any moment: nothing is lost, nothing comes twice, nothing stays."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from claude_mpm.conversation.verdict import Outcome
from claude_mpm.testing.contract_tests.stop import nothing_of
from claude_mpm.testing.residue import Remains
from claude_mpm.testing.script import Call, Stall
from claude_mpm.testing.subject import ended, lines_to_the_end, over, shown, until

if TYPE_CHECKING:
    import subprocess

    from claude_mpm.testing.request import Request
    from claude_mpm.testing.subject import Subject

_FIRST = "\n".join(f"The first half, line {n}." for n in range(200))
_LAST = "\n".join(f"The last half, line {n}." for n in range(200))


def a_killed_controller_is_replaced_by_the_next(subject: Subject) -> None:
    """An answer would be lost, or paid for twice, whenever your program crashes or restarts."""
    _half_an_answer(subject, "slowly")
    child, session = _driven_to_the_stall(subject, "Please go slowly.")
    child.kill()
    child.wait()
    claude = subject.started(session_id=session, resume=True)
    assert claude.attached, "the next controller did not find the Claude that runs"
    assert claude.turns_before, "the next controller does not know of the turn that runs"
    turn = claude.turns_before[0]
    subject.model.release()
    _is_whole(over(turn))
    subject.says(claude, "Still here.")
    asked = [each.prompt for each in subject.model.requests if "slowly" in each.prompt]
    assert len(asked) == 1, f"the prompt was given to the model {len(asked)} times"
    claude.stop()
    nothing_of(subject.remains(claude))


def claude_does_not_outlive_its_last_follower(subject: Subject) -> None:
    """A Claude that nobody follows would run, and cost, until somebody finds it."""
    subject.model.on("hello", "Here.", Stall())
    child, session = _driven_to_the_stall(subject, "hello", linger=2)
    child.kill()
    child.wait()
    subject.model.release()
    folder = subject.folder_of(session)
    ended(folder)
    nothing_of(Remains(folder))


def the_death_of_claude_is_told(subject: Subject) -> None:
    """A Claude that was killed, as by a full memory, would look like one that thinks for long."""
    claude = subject.started()
    journal = subject.session_folder(claude).journal.path

    def dies(_: Request) -> Call:
        # Claude's own record of a conversation, which is a terminal's journal, has what was said
        # a little later.
        until(lambda: b"The first words." in journal.read_bytes(), "what was said did not arrive")
        return Call("Bash", command="tail -f /dev/null & kill -9 $PPID")

    turn = subject.asks(claude, "The first words.", Call("Bash", command="echo working"), dies, "?")
    verdict = over(turn).verdict
    assert verdict.outcome is Outcome.LOST, f"the turn of a killed Claude counts as {verdict}"
    assert turn.text == "The first words.", f"of what it said, {shown(turn.text)} arrived"
    until(lambda: not claude.running, "the end of a killed Claude was not told")
    claude.stop()
    nothing_of(subject.remains(claude))


def what_stands_between_may_be_killed(subject: Subject) -> None:
    """A cut link or a crashed client would end your session, or lose a part of it."""
    _half_an_answer(subject, "slowly")
    claude = subject.started()
    turn = claude.ask("Please go slowly.")
    subject.model.wait_for_stall()
    _kill(subject.remains(claude))
    subject.model.release()
    _is_whole(over(turn))
    _kill(subject.remains(claude))
    subject.says(claude, "Still here.")
    claude.stop()
    nothing_of(subject.remains(claude))


def a_cut_in_the_middle_of_the_output_loses_nothing(subject: Subject) -> None:
    """Lines would be missing, or come twice, after each trouble of the network."""
    script = (
        'n=0; while read -r go; do m=0; while [ "$m" -lt 20000 ]; do'
        ' echo "line $n"; n=$((n + 1)); m=$((m + 1)); done; done'
    )
    claude = subject.program(script)
    folder, remains = subject.session_folder(claude), subject.remains(claude)
    for _ in range(3):
        before = folder.journal.size()
        claude.send_input("go on")
        until(lambda: folder.journal.size() > before, "nothing arrives")  # noqa: B023
        _kill(remains)
    claude.send_input("go on")
    until(lambda: b"line 79999\n" in folder.journal.tail(20), "not all lines arrive")
    claude.stop()
    lines = lines_to_the_end(claude)
    assert lines == [f"line {n}" for n in range(80_000)], (
        f"80000 lines were written, {len(lines)} came, {len(set(lines))} of them different"
    )


def _half_an_answer(subject: Subject, word: str) -> None:
    subject.model.on(word, _FIRST, Call("Bash", command="echo working"), Stall(), _LAST)


def _is_whole(turn: Any) -> None:
    assert turn.verdict.ok, f"the turn did not complete: {turn.verdict}"
    whole = f"{_FIRST}\n{_LAST}"
    assert turn.text == whole, (
        f"an answer of {len(whole.splitlines())} lines arrived with {len(turn.text.splitlines())}"
    )


def _driven_to_the_stall(
    subject: Subject, prompt: str, **options: Any
) -> tuple[subprocess.Popen[bytes], str]:
    """Start a controller that can be killed, and wait for the middle of its Claude's answer."""
    child, session = subject.driven(prompt, **options)

    def stalls() -> bool:
        assert child.poll() is None, f"the controller ended by itself: {subject.complaint()}"
        with suppress(TimeoutError):
            subject.model.wait_for_stall(timeout=0.5)
            return True
        return False

    until(stalls, "Claude did not come to the middle of its answer")
    return child, session


def _kill(remains: Remains) -> None:
    """Kill all that stands on this machine between the controller and the session's host."""
    for process in remains.between():
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
