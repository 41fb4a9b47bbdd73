"""Money and tokens: a budget acts while the turn runs, and what was used stays counted."""

from __future__ import annotations

import json
import time
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm import Outcome
from claude_mpm.engine.supervision import budget
from claude_mpm.errors import BudgetExceeded
from claude_mpm.orchestration.factory import create_orchestrator
from claude_mpm.testing import Call, Delegate, ScriptedModel, Stall, Usage
from command import Command

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.capabilities.facts import Capabilities
    from conftest import MakeClaude

SECONDS = 60.0
DEAR = Usage(input_tokens=100_000, output_tokens=1_000)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claude is asked for what it has used as often as it says something."""
    monkeypatch.setattr(budget, "INTERVAL", 0.0)


def test_the_turn_is_interrupted_while_it_runs_and_the_session_goes_on(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on("dear", DEAR, Call("Bash", command="echo one"), "Half", Stall())
    with make_claude(turn_cost_limit_usd=0.1) as claude:
        verdict = claude.ask("dear").wait(SECONDS).verdict
        assert verdict.outcome is Outcome.FAILED
        assert verdict.reason.startswith("the budget of this turn is used up: $")
        assert verdict.reason.endswith(" of $0.1")
        assert verdict.exit_status == 1
        assert claude.ask("cheap").wait(SECONDS).verdict.ok


def test_what_a_subagent_uses_counts(make_claude: MakeClaude, model: ScriptedModel) -> None:
    does: list[Any] = [DEAR, Call("Bash", command="echo one"), Usage(), "Done."]
    model.on("go", Usage(), Delegate("general-purpose", "work", does=does), "Half", Stall())
    with make_claude(turn_token_limit=50_000) as claude:
        verdict = claude.ask("go").wait(SECONDS).verdict
    assert verdict.outcome is Outcome.FAILED
    assert verdict.reason.endswith(" of 50000 tokens")


def test_a_session_counts_what_was_used_before_whoever_takes_it_up(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on("first", DEAR, "Done.")
    model.on("second", DEAR, Call("Bash", command="echo one"), "Half", Stall())
    with make_claude() as claude:
        cost = claude.ask("first").wait(SECONDS).cost_usd
    assert cost > 0
    again: dict[str, Any] = {"session_id": claude.session_id, "resume": True}
    with make_claude(**again, session_cost_limit_usd=cost * 1.5) as claude:
        turn = claude.ask("second").wait(SECONDS)
        assert turn.verdict.reason.startswith("the budget of this session is used up: $")
        # What was used until the interrupt is in the record, so no other prompt is let in.
        with pytest.raises(BudgetExceeded, match="raise `session_cost_limit_usd`"):
            claude.ask("third")
    with make_claude(**again, session_cost_limit_usd=cost * 10) as claude:
        assert claude.ask("third").wait(SECONDS).verdict.ok
        assert claude.turns_before == []


DAY = 86_400.0  # seconds


def test_a_day_counts_all_sessions_and_says_when_it_ends(
    make_claude: MakeClaude, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The day is the test's own, since the machine's may end while it runs."""
    begins = [time.time() - DAY / 2]
    monkeypatch.setattr(budget, "midnight", lambda days=0: begins[0] + days * DAY)
    model.on("first", DEAR, "Done.")
    with make_claude() as claude:
        assert claude.ask("first").wait(SECONDS).verdict.ok
    with make_claude(day_token_limit=100_000) as other:
        with pytest.raises(BudgetExceeded) as refused:
            other.ask("second")
        ends = datetime.fromtimestamp(begins[0] + DAY)
        assert f"or go on after {ends:%Y-%m-%d %H:%M}" in str(refused.value)
        assert "the budget of this day is used up: 101" in str(refused.value)
        begins[0] += DAY
        assert other.ask("second").wait(SECONDS).verdict.ok


@pytest.mark.parametrize("days", [0, 1])
def test_a_day_begins_and_ends_at_midnight_here(days: int) -> None:
    before = date.today()
    begins = datetime.fromtimestamp(budget.midnight(days))
    assert (begins.hour, begins.minute, begins.second) == (0, 0, 0)
    assert before <= begins.date() - timedelta(days) <= date.today()


def test_a_prompt_that_waits_for_its_turn_is_not_run_on_an_empty_budget(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on("first", DEAR, Call("Bash", command="echo one"), "Half", Stall())
    with make_claude(session_token_limit=100_000) as claude:
        first, second = claude.ask("first"), claude.ask("second")
        assert first.wait(SECONDS).verdict.outcome is Outcome.FAILED
        assert second.wait(SECONDS).verdict.outcome is Outcome.FAILED
        assert "raise `session_cost_limit_usd`" in second.verdict.reason
    assert "second" not in [request.prompt for request in model.requests]


def test_the_command_line_follows(
    model: ScriptedModel, home: Path, claude_path: str, build: Capabilities
) -> None:
    model.on("dear", DEAR, Call("Bash", command="echo one"), "Half", Stall())
    command = Command(model, home, claude_path)
    done = command("run", "dear", "--json", status=1, CLAUDE_MPM_TURN_TOKEN_LIMIT="1000")
    reason = json.loads(done.stdout)["reason"]
    assert "of 1000 tokens" in reason
    # Claude's own record says no more than that the turn was interrupted.
    kept = ("failed", reason)
    if not build.can("names_ended"):
        assert "its record does not say which limit" in done.stderr
        kept = ("interrupted", "it was interrupted before its end")
    (turn,) = json.loads(command("show", "--json").stdout)["turns"]
    assert (turn["outcome"], turn["reason"]) == kept
    refused = command("resume", "-i", "more", status=1, CLAUDE_MPM_SESSION_TOKEN_LIMIT="1000")
    line = refused.stderr.splitlines()[-1]
    assert line.startswith("claude-mpm: the budget of this session is used up: 10")


def usage_line(name: str, kind: str = "text") -> str:
    used = {"input_tokens": 900, "output_tokens": 100}
    message = {"id": name, "role": "assistant", "content": [{"type": kind}], "usage": used}
    return json.dumps({"type": "assistant", "message": message}) + "\n"


@pytest.mark.parametrize(
    ("lines", "used_up"),
    [
        (["a", "a", "a"], False),  # every block repeats the usage of its message
        (["a", "b"], True),
    ],
)
@pytest.mark.usefixtures("stand_in")
def test_each_message_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str], used_up: bool
) -> None:
    raw = tmp_path / "raw"
    raw.write_text("".join(map(usage_line, lines)))
    monkeypatch.setenv("STAND_IN_RAW", str(raw))
    with create_orchestrator("local", turn_token_limit=1500) as claude:
        verdict = claude.ask("go").wait(SECONDS).verdict
    told = "the budget of this turn is used up: 2000 of 1500 tokens"
    assert (told in verdict.evidence) is used_up
    assert verdict.ok  # the stand-in does not hear, and was done before
