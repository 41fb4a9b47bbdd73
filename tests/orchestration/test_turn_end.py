"""What ends a turn and what does not: results of nobody's, alarms that come late."""

from __future__ import annotations

import asyncio
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm import MPMOrchestrator, Outcome
from claude_mpm.conversation.turn import Turn
from claude_mpm.engine.supervision import watchdog
from claude_mpm.engine.supervision.watchdog import Watchdog
from claude_mpm.testing import ScriptedModel, Stall
from claude_mpm.testing.subject import until
from command import Command
from talk import Talk

if TYPE_CHECKING:
    from pathlib import Path


SECONDS = 60.0
IDLE = {"type": "system", "subtype": "session_state_changed", "state": "idle"}
SAID = {"type": "assistant", "message": {"content": [{"type": "text", "text": "the answer"}]}}
# What a Claude that goes on with a conversation may write before it begins with a prompt.
EMPTY = {"type": "result", "subtype": "success", "num_turns": 0, "result": ""}


@pytest.fixture
def talk() -> Talk:
    return Talk()


STRAYS = {
    "empty": EMPTY,
    "with words": {**EMPTY, "result": "what was said before", "num_turns": 3},
    "an error": {**EMPTY, "subtype": "error_during_execution", "is_error": True},
    "twice": EMPTY,
}


@pytest.mark.parametrize("case", STRAYS, ids=list(STRAYS))
def test_a_result_of_no_prompt_does_not_end_one_that_only_waits(talk: Talk, case: str) -> None:
    stray = STRAYS[case]
    talk.write(talk.heard("queued"), stray, *([stray] if case == "twice" else []), IDLE)
    assert not talk.turn.done
    talk.write(talk.heard("started"), SAID, talk.result(), talk.heard("completed"), IDLE)
    assert talk.turn.done
    assert talk.turn.verdict.ok
    assert len(talk.turn.results) == 1
    assert sum("names no prompt" in line for line in talk.turn.verdict.evidence) >= 1


def test_a_release_that_names_no_prompt_in_its_results_ends_what_it_began(talk: Talk) -> None:
    unnamed = talk.result(user_message_uuids=None)
    talk.write(talk.heard("queued"), talk.heard("started"), SAID, unnamed, IDLE)
    assert talk.turn.verdict.ok


def test_without_acknowledgement_an_empty_result_ends_no_turn_that_has_no_answer(
    talk: Talk,
) -> None:
    talk.write(EMPTY)
    assert not talk.turn.done
    talk.write(SAID, {**talk.result(), "user_message_uuids": None})
    assert talk.turn.verdict.ok


@pytest.mark.parametrize(
    "result",
    [
        {**EMPTY, "local_command": "clear"},
        {**EMPTY, "result": "$0.00"},
        {**EMPTY, "num_turns": 1},
        {**EMPTY, "is_error": True},
    ],
    ids=["a command", "an answer", "a model that said nothing", "an error"],
)
def test_without_acknowledgement_a_result_that_tells_something_ends_the_turn(
    talk: Talk, result: dict[str, Any]
) -> None:
    talk.write(result)
    assert talk.turn.done


def test_a_result_that_came_twice_ends_no_second_turn(talk: Talk) -> None:
    first = {**talk.result(), "user_message_uuids": None, "uuid": "r1"}
    talk.write(SAID, first)
    second = Turn("more", talk)
    talk.turns.add(second)
    talk.write(first)
    assert not second.done
    talk.write(SAID, {**first, "uuid": "r2"})
    assert second.verdict.ok


def test_an_alarm_that_comes_late_waits_for_a_result_that_is_there(talk: Talk) -> None:
    talk.unheard += talk.events(talk.result())
    talk.turn._timeout = 0.0
    talk.turn.begin()
    talk.turn.keep_time()
    assert talk.interrupted == 0
    talk.write(talk.heard("started"), SAID, talk.result(duration_ms=3000), IDLE)
    assert talk.turn.verdict.outcome is Outcome.COMPLETED
    assert talk.turn.results[0].duration == 3.0


@pytest.mark.parametrize("whose", ["nobody's", "another's"])
def test_an_alarm_interrupts_where_there_is_no_result_of_this_turn(talk: Talk, whose: str) -> None:
    other = talk.result(user_message_uuids=["another"])
    talk.unheard += talk.events(SAID, *([other] if whose == "another's" else []))
    talk.turn._timeout = 0.0
    talk.turn.begin()
    talk.turn.keep_time()
    assert talk.interrupted == 1
    aborted = talk.result(is_error=True, terminal_reason="aborted_streaming")
    talk.write(talk.heard("started"), SAID, aborted, talk.heard("cancelled"), IDLE)
    assert talk.turn.verdict.outcome is Outcome.TIMED_OUT


def test_a_turn_that_ends_by_itself_while_it_is_interrupted_has_completed(talk: Talk) -> None:
    talk.turn._timeout = 0.0
    talk.turn.begin()
    talk.turn.keep_time()
    assert talk.interrupted == 1
    talk.write(talk.heard("started"), SAID, talk.result(), talk.heard("completed"), IDLE)
    assert talk.turn.verdict.outcome is Outcome.COMPLETED


def test_a_silence_through_which_this_process_was_stopped_is_none(talk: Talk) -> None:
    turn = Turn("go", talk, quiet=0.0)
    turn.add_line("the beginning")
    talk.unheard += talk.events(SAID)
    turn.keep_time()
    assert not turn.done, "there is more that was not read"
    talk.unheard.clear()
    turn.keep_time()
    assert turn.verdict.outcome is Outcome.COMPLETED


def test_a_command_that_was_stopped_reads_first_what_came_meanwhile(
    model: ScriptedModel, home: Path, claude_path: str
) -> None:
    command = Command(model, home, claude_path)
    model.on("go", "half", Stall(), " whole")
    running = command.start("run", "--timeout", "12", "go")
    model.wait_for_stall()
    running.send_signal(19)  # SIGSTOP
    model.release()
    journal = command.session().journal.path
    until(lambda: b'"type":"result"' in journal.read_bytes(), "Claude did not end the turn")
    with pytest.raises(subprocess.TimeoutExpired):
        running.wait(13)
    running.send_signal(18)  # SIGCONT
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert "completed" in err
    assert out.startswith("half")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Watched(Talk):
    """A talk that a watchdog observes, too, with a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **limits: float) -> None:
        super().__init__(on_stall="end", **limits)
        self.clock = Clock()
        monkeypatch.setattr(watchdog, "time", self.clock)
        self.dog = Watchdog(self)
        self.observers = (*self.observers, self.dog)

    def pass_seconds(self, number: int) -> None:
        for _ in range(number):
            self.clock.now += 1.0
            self.dog.act()


def test_a_watchdog_that_slept_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Watched(monkeypatch, silence_timeout=4.0)
    talk.write(talk.heard("started"), SAID, SAID)
    talk.pass_seconds(2)
    talk.clock.now += 8.0  # everything was stopped
    talk.pass_seconds(4)
    assert talk.ended == []
    talk.pass_seconds(1)
    assert talk.ended == ["stop"]
    assert talk.turn.verdict.outcome is Outcome.STALLED


CALL = {"message": {"content": [{"type": "tool_use", "id": "c1", "name": "Bash"}]}}
RESULT = {"message": {"content": [{"type": "tool_result", "tool_use_id": "c1"}]}}
ASKED = {
    "type": "control_request", "request_id": "r1",
    "request": {"subtype": "can_use_tool", "tool_name": "Bash", "tool_use_id": "c1", "input": {}},
}  # fmt: skip


@pytest.mark.parametrize("case", ["the tool", "silent"])
def test_after_an_answered_permission_the_limits_count_again(
    monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """Some releases say nothing of their state then."""
    talk = Watched(monkeypatch, silence_timeout=4.0, tool_timeout=4.0)
    talk.write(talk.heard("started"), {"type": "assistant", **CALL}, ASKED)
    talk.pass_seconds(100)
    assert talk.ended == []
    talk.questions.open()[0].allow()
    if case == "silent":
        talk.write({"type": "user", **RESULT})
    talk.pass_seconds(3)
    assert talk.ended == []
    talk.pass_seconds(1)
    assert talk.ended == ["stop"]
    assert case in talk.turn.verdict.reason


class _Failure(Exception):
    pass


class _Mute(MPMOrchestrator):
    """Gives Claude nothing, so that no turn ends by itself."""

    def send_input(self, text: str) -> None:
        pass


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("how", ["with", "async with"])
def test_prompts_that_nobody_waits_for_are_answered_where_a_with_is_left(how: str) -> None:
    async def leave() -> tuple[Turn, Turn]:
        async with MPMOrchestrator() as claude:
            return claude.ask("one"), claude.ask("two")

    if how == "with":
        with MPMOrchestrator() as claude:
            turns = claude.ask("one"), claude.ask("two")
    else:
        turns = asyncio.run(leave())
    assert [turn.text for turn in turns] == ["Claude heard: one", "Claude heard: two"]
    assert all(turn.verdict.ok for turn in turns)


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("why", ["somebody has waited", "an error", "stop", "the limit"])
def test_a_with_is_left_at_once_where_nothing_is_to_be_waited_for(
    why: str,
) -> None:
    limit = 0.5 if why == "the limit" else SECONDS
    begun = time.monotonic()
    with suppress(_Failure), _Mute(stop_timeout=limit) as claude:
        turn = claude.ask("go")
        if why == "somebody has waited":
            with pytest.raises(TimeoutError):
                turn.wait(0.0)
        elif why == "an error":
            raise _Failure
        elif why == "stop":
            claude.stop()
    assert not turn.verdict.ok
    assert time.monotonic() - begun < SECONDS
