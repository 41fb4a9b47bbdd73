"""Overnight runs do not stand still at a rate limit: they wait until it is lifted, and go on."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm import Outcome
from claude_mpm.cli.main import main
from claude_mpm.cli.session_view import cells, read_row
from claude_mpm.engine import output
from claude_mpm.engine.supervision import rate_limit
from claude_mpm.journal.rate_limited import read_parked
from claude_mpm.sessions.status import State, read_status
from claude_mpm.testing import Call, Fail, ScriptedModel
from claude_mpm.testing.subject import until

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.testing.request import Request
    from conftest import MakeClaude, Orchestrator

SECONDS = 60.0
HOUR = 3600.0


class Clock:
    """The clocks as the one who waits sees them: the one is set, the other passes."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.passed = 0.0

    def time(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic() + self.passed


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Clock:
    wall = Clock()
    monkeypatch.setattr(rate_limit, "time", wall)
    monkeypatch.setattr(output, "_IDLE_INTERVAL", 0.1)  # it looks at the clocks as often
    return wall


class Limit:
    """The limit of a plan, which refuses so many requests."""

    def __init__(self, *then: str, lifted_in: float = HOUR, times: int = 1) -> None:
        self.then = then
        self.lifted_in = lifted_in
        self.left = times
        self.lifted_at = 0

    def __call__(self, _: Request) -> list[Any]:
        if self.left == 0:
            return list(self.then)
        self.left -= 1
        self.lifted_at = int(time.time() + self.lifted_in)
        return [Fail(429, headers={
            "anthropic-ratelimit-unified-status": "rejected",
            "anthropic-ratelimit-unified-reset": str(self.lifted_at),
            "anthropic-ratelimit-unified-representative-claim": "five_hour",
        })]  # fmt: skip


def lifted(limit: Limit) -> str:
    """Return a pattern of the time; its date is said where midnight comes before it."""
    when = datetime.fromtimestamp(limit.lifted_at)
    return f"({when:%Y-%m-%d} )?{when:%H:%M}"


def plan(environment: dict[str, str]) -> dict[str, str]:
    """Return the environment of one who has a plan and no key: only there a limit is named."""
    environment = {**environment, "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-scripted-model"}
    del environment["ANTHROPIC_API_KEY"]
    return environment


@pytest.fixture
def make(make_claude: MakeClaude, model: ScriptedModel, tmp_path: Path) -> MakeClaude:
    environ = plan(model.environment(tmp_path / "claude-home"))

    def make(**options: Any) -> Orchestrator:
        return make_claude(environ=environ, **{"wait_for_rate_limit": 2 * HOUR, **options})

    return make


def folder_of(claude: Orchestrator) -> SessionFolder:
    folder: SessionFolder = claude.store.folder(claude.session_id)
    return folder


def parked(claude: Orchestrator, prompt: str = "go") -> Orchestrator:
    """Ask, and wait until the turn waits."""
    turn = claude.ask(prompt)
    until(lambda: turn.parked or turn.done, "the turn is not parked")
    assert turn.parked, turn.verdict
    return turn


def prompts(model: ScriptedModel) -> list[str]:
    return [request.prompt for request in model.requests]


def test_a_refused_prompt_waits_is_seen_to_wait_and_is_given_again(
    make: MakeClaude, model: ScriptedModel, wall: Clock
) -> None:
    limit = Limit("Done.")
    model.on("go", limit)
    with make() as claude:
        turn = parked(claude)
        folder = folder_of(claude)
        until(
            lambda: read_status(folder, claude.store.index).state is State.PARKED,
            "the session is not parked",
        )
        row = read_row(claude.store, folder)
        assert re.fullmatch(f"waiting for the rate limit until {lifted(limit)}", str(cells(row)[1]))
        wall.ahead = HOUR + 1  # also where the machine has slept, and its other clock with it
        turn.wait(SECONDS)
        assert turn.verdict.ok
        assert turn.text == "Done."
        assert "waited for the rate limit 1 times" in turn.verdict.evidence
        assert read_parked(folder) is None
    assert prompts(model) == ["go", "go"]


def test_what_was_done_is_not_done_again(
    make: MakeClaude, model: ScriptedModel, wall: Clock, tmp_path: Path
) -> None:
    model.on("go", Call("Bash", command="echo ran >>ran"), Limit("Went on."))
    with make(allowed_tools=["Bash"]) as claude:
        turn = parked(claude)
        wall.ahead = HOUR + 1
        assert turn.wait(SECONDS).verdict.ok
        assert turn.text == "Went on."
    assert "Continue from where you left off." in json.dumps(model.requests[-1].body)
    assert (tmp_path / "project" / "ran").read_text() == "ran\n"


def test_a_clock_that_is_set_back_makes_nobody_wait_longer(
    make: MakeClaude, model: ScriptedModel, wall: Clock
) -> None:
    model.on("go", Limit("Done."))
    with make() as claude:
        turn = parked(claude)
        wall.ahead, wall.passed = -HOUR, HOUR + 1
        assert turn.wait(SECONDS).verdict.ok


def test_an_old_moment_is_not_told_of_a_later_refusal(
    make_claude: MakeClaude, model: ScriptedModel, wall: Clock, tmp_path: Path
) -> None:
    """A refusal that names no moment is judged by what it says itself."""
    model.on("first", Limit())
    model.on("second", Fail(429))
    environ = plan(model.environment(tmp_path / "claude-home", CLAUDE_CODE_MAX_RETRIES="0"))
    with make_claude(environ=environ, wait_for_rate_limit=30) as claude:
        first = claude.ask("first").wait(SECONDS).verdict
        assert "the limit is lifted at" in first.reason
        wall.ahead = HOUR + 1
        second = claude.ask("second").wait(SECONDS).verdict
    assert second.outcome is Outcome.FAILED
    assert "the limit is lifted at" not in second.reason


@pytest.mark.parametrize(
    ("longest", "why"), [(60, "allows 60 seconds"), (None, "would let the turn wait")]
)
def test_a_limit_that_is_lifted_too_late_fails_at_once_and_names_the_time(
    make: MakeClaude, model: ScriptedModel, longest: float | None, why: str
) -> None:
    limit = Limit()
    model.on("go", limit)
    with make(wait_for_rate_limit=longest) as claude:
        verdict = claude.ask("go").wait(SECONDS).verdict
    assert verdict.outcome is Outcome.FAILED
    assert re.search(f"the limit is lifted at {lifted(limit)}", verdict.reason)
    assert why in verdict.reason


def test_no_turn_waits_for_ever(
    make: MakeClaude, model: ScriptedModel, wall: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limit, "MOST_WAITS", 2)
    model.on("go", Limit(times=10))
    with make() as claude:
        turn = parked(claude)
        wall.ahead = HOUR + 1
        until(lambda: turn.known.waited == 2, "it has not waited twice")
        wall.ahead = 2 * HOUR + 2
        turn.wait(SECONDS)
    assert turn.verdict.outcome is Outcome.FAILED
    assert "waited 2 times already" in turn.verdict.reason
    assert prompts(model) == ["go"] * 3


def test_an_interrupt_ends_the_wait_and_the_session_takes_the_next_prompt(
    make: MakeClaude, model: ScriptedModel, wall: Clock
) -> None:
    limit = Limit()
    model.on("go", limit)
    with make() as claude:
        turn = parked(claude)
        turn.interrupt()
        assert turn.verdict.outcome is Outcome.INTERRUPTED
        assert re.search(f"for the rate limit until {lifted(limit)}", turn.verdict.reason)
        assert read_parked(folder_of(claude)) is None
        wall.ahead = HOUR + 1
        assert claude.ask("next").wait(SECONDS).verdict.ok
    assert prompts(model) == ["go", "next"]


def test_a_stop_ends_the_wait(make: MakeClaude, model: ScriptedModel) -> None:
    model.on("go", Limit())
    with make() as claude:
        turn = parked(claude)
    assert turn.verdict.outcome is Outcome.INTERRUPTED
    assert read_parked(folder_of(claude)) is None


@pytest.mark.parametrize("linger", [0.0, SECONDS], ids=["Claude has ended", "Claude runs"])
def test_whoever_takes_the_session_up_waits_on(
    make: MakeClaude, model: ScriptedModel, wall: Clock, linger: float
) -> None:
    model.on("go", Limit("Done."))
    first = make(linger=linger)
    first.start_or_raise()
    turn = parked(first)
    first.detach()
    assert turn.verdict.outcome is Outcome.LOST
    assert "waits for the rate limit until" in turn.verdict.reason
    folder = folder_of(first)
    until(lambda: folder.has_ended() or linger, "it goes on")
    with make(session_id=first.session_id, resume=True, wait_for_rate_limit=None) as second:
        (taken_up,) = second.turns_before
        until(lambda: taken_up.parked, "the turn is not parked")
        wall.ahead = HOUR + 1
        assert taken_up.wait(SECONDS).verdict.ok
        assert taken_up.text == "Done."
    assert prompts(model) == ["go", "go"]


@pytest.mark.parametrize("linger", [0.0, SECONDS], ids=["Claude has ended", "Claude runs"])
def test_a_prompt_that_waits_goes_to_another_place_with_its_session(
    make: MakeClaude, model: ScriptedModel, wall: Clock, linger: float, tmp_path: Path
) -> None:
    model.on("go", Limit("Done."))
    here = make(linger=linger)
    here.start_or_raise()
    parked(here)
    here.detach()
    until(lambda: folder_of(here).has_ended() or linger, "it goes on")
    there = make(cwd=str(tmp_path))
    make(session_id=here.session_id, resume=True).move_to(there)
    (taken_up,) = there.turns_before
    until(lambda: taken_up.parked, "the turn is not parked")
    wall.ahead = HOUR + 1
    assert taken_up.wait(SECONDS).text == "Done."
    assert prompts(model) == ["go", "go"]


def test_several_sessions_wait_each_on_its_own(
    make: MakeClaude, model: ScriptedModel, wall: Clock
) -> None:
    model.on("one", Limit("First."))
    model.on("two", Limit("Second.", lifted_in=1.5 * HOUR))
    with make() as one, make() as two:
        first, second = parked(one, "one"), parked(two, "two")
        wall.ahead = 1.2 * HOUR
        assert first.wait(SECONDS).text == "First."
        assert second.parked
        wall.ahead = 1.8 * HOUR
        assert second.wait(SECONDS).text == "Second."


def test_the_command_line_waits_and_ends_well(
    model: ScriptedModel,
    home: Path,
    claude_path: str,
    wall: Clock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model.on("go", Limit("Done."))
    environ = plan(model.environment(home, CLAUDE_PATH=claude_path))
    environ["CLAUDE_MPM_STATE_DIR"] = str(home / "state")
    environ["CLAUDE_MPM_WAIT_FOR_RATE_LIMIT"] = "7200"
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    def pass_the_time() -> None:
        until(lambda: [*(home / "state").glob("sessions/*/parked.json")], "nothing is parked")
        wall.ahead = HOUR + 1

    passing = threading.Thread(target=pass_the_time)
    passing.start()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        main(["run", "go"])
    signal.signal(signal.SIGTERM, before)
    passing.join()
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (0, "Done.\n")
    assert "the rate limit is reached, until" in said.err
    assert "completed" in said.err
