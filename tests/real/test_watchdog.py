"""Nothing hangs for ever: a turn that stands still is noticed, and it is said on what evidence."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from claude_mpm import Outcome
from claude_mpm.engine.supervision import resources
from claude_mpm.testing import Call, Fail, ScriptedModel, Stall

if TYPE_CHECKING:
    import pytest

    from conftest import MakeClaude

SECONDS = 60.0


def run(make_claude: MakeClaude, prompt: str = "go", **options: Any) -> Any:
    with make_claude(on_stall="interrupt", **options) as claude:
        return claude.ask(prompt).wait(SECONDS)


def test_a_half_dead_connection_stalls_and_does_not_hang(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on("go", "The first half", Stall())
    turn = run(make_claude, silence_timeout=1.0, partial=True)
    assert turn.verdict.outcome is Outcome.STALLED
    assert "silent for" in turn.verdict.reason
    assert turn.verdict.exit_status == 124


def test_retries_are_no_progress_and_the_reason_says_so(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on("go", Fail(500))
    turn = run(make_claude, silence_timeout=10.0)
    assert turn.verdict.outcome is Outcome.STALLED
    assert "retries (server_error)" in turn.verdict.reason


def test_a_tool_is_no_silence_and_has_a_limit_of_its_own(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on("go", Call("Bash", command="sleep 12; echo done"), "It is done.")
    assert run(make_claude, allowed_tools=["Bash"], silence_timeout=10.0).verdict.ok
    turn = run(make_claude, allowed_tools=["Bash"], tool_timeout=1.0)
    assert turn.verdict.outcome is Outcome.STALLED
    assert "the tool Bash has not ended" in turn.verdict.reason


def test_after_a_stall_the_session_takes_the_next_prompt(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on("first", "Half", Stall())
    model.on("second", "Whole.")
    with make_claude(on_stall="interrupt", silence_timeout=10.0) as claude:
        assert claude.ask("first").wait(SECONDS).verdict.outcome is Outcome.STALLED
        assert claude.ask("second").wait(SECONDS).text == "Whole."


def test_end_ends_the_session_with_the_turn(make_claude: MakeClaude, model: ScriptedModel) -> None:
    model.on("go", "Half", Stall())
    claude = make_claude(on_stall="end", silence_timeout=1.0)
    claude.start_or_raise()
    assert claude.ask("go").wait(SECONDS).verdict.outcome is Outcome.STALLED
    while claude.running:
        claude.get_output(timeout=0.2)
    assert claude.process.wait(SECONDS) is not None


def test_a_warning_does_nothing_else(
    make_claude: MakeClaude, model: ScriptedModel, tmp_path: Any
) -> None:
    model.on("go", "Half", Stall(), " and half.")
    with make_claude(silence_timeout=1.0, log_level="WARNING", log_dir=tmp_path / "log") as claude:
        turn = claude.ask("go")
        model.wait_for_stall()
        log = tmp_path / "log" / "claude-mpm.log"
        while not log.exists() or "stands still" not in log.read_text():
            claude.get_output(timeout=0.2)
        model.release()
        assert turn.wait(SECONDS).verdict.ok


def test_a_stalled_turn_goes_on_in_a_fresh_claude(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on("go", "Half", Stall())
    model.on("Continue", "Whole.")
    options: dict[str, Any] = {"silence_timeout": 10.0, "resume_lost": 1}
    with make_claude(on_stall="resume", **options) as claude:
        turn = claude.ask("go").wait(SECONDS)
        assert turn.verdict.ok, turn.verdict
        assert turn.text.endswith("Whole.")
        assert turn.known.resumed == 1


def test_a_claude_that_eats_the_memory_is_ended_and_the_reason_is_said(
    make_claude: MakeClaude, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    stalled, read_usage = threading.Event(), resources.read_usage

    def read_once_stalled(*words: Any) -> resources.Usage:
        stalled.wait(SECONDS)
        return read_usage(*words)

    monkeypatch.setattr(resources, "INTERVAL", 0.1)
    monkeypatch.setattr(resources, "read_usage", read_once_stalled)
    model.on("go", "Half", Stall())
    with make_claude(memory_limit_mb=1) as claude:
        turn = claude.ask("go")
        model.wait_for_stall()
        stalled.set()
        verdict = turn.wait(SECONDS).verdict
    assert verdict.outcome is Outcome.LOST
    assert "and the limit is 1" in verdict.reason
