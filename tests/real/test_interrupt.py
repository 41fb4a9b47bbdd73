"""The real Claude Code, told to stop in the middle of a turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from claude_mpm import Outcome
from claude_mpm.errors import SessionEnded, TurnFailed
from claude_mpm.testing import Call, Fail, Stall

if TYPE_CHECKING:
    from claude_mpm.testing import ScriptedModel
    from conftest import MakeClaude


def test_an_interrupted_turn_ends_and_the_conversation_goes_on(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on("slowly", "what was said", Stall(), "never said")
    with make_claude() as claude:
        turn = claude.ask("slowly")
        model.wait_for_stall()
        turn.interrupt()
        assert turn.verdict.outcome is Outcome.INTERRUPTED
        assert "never said" not in turn.text
        assert claude.ask("again").text == "Claude heard: again"


def test_a_turn_whose_time_is_up_is_interrupted_and_the_next_one_runs(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on("endless", Stall(), "never said")
    with make_claude() as claude:
        turn = claude.ask("endless", timeout=0.5)
        assert turn.verdict.outcome is Outcome.TIMED_OUT
        assert turn.verdict.exit_status == 124
        assert claude.ask("again").text == "Claude heard: again"


def test_an_interrupt_ends_a_command_that_runs(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on("wait", Call("Bash", command="read line < /dev/zero; tail -f /dev/null"), "never said")
    with make_claude(claude_args=["--allowedTools=Bash"]) as claude:
        turn = claude.ask("wait")
        for item in turn.stream():
            if getattr(item, "type", "") == "assistant":
                turn.interrupt()
        assert turn.verdict.outcome is Outcome.INTERRUPTED


def test_success_with_an_error_inside_is_a_failure(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on("rude", Fail(400, message="Please be kind."))
    with make_claude() as claude:
        turn = claude.ask("rude")
        assert turn.verdict.outcome is Outcome.FAILED
        assert "Please be kind." in turn.verdict.reason
        assert turn.text == ""
        with pytest.raises(TurnFailed, match="be kind"):
            turn.check()


def test_a_stop_in_the_middle_of_a_turn_ends_it_and_input_is_refused_afterwards(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on("slowly", Stall(), "never said")
    claude = make_claude()
    assert claude.start()
    turn = claude.ask("slowly")
    waiting = claude.ask("after it")
    model.wait_for_stall()
    claude.stop()
    assert turn.verdict.outcome in (Outcome.LOST, Outcome.INTERRUPTED)
    assert waiting.verdict.outcome is Outcome.LOST
    with pytest.raises(SessionEnded, match="takes no input"):
        claude.send_input("too late")
