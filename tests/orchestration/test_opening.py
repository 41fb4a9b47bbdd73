"""The first prompt of a session that is started for it: it goes to Claude behind `initialize`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm import MPMOrchestrator
from claude_mpm.engine.handshake import Handshake
from claude_mpm.errors import LaunchError, UsageError
from claude_mpm.journal.prompts import prompts

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.testing import ScriptedModel
    from conftest import MakeClaude

SECONDS = 60.0
pytestmark = pytest.mark.usefixtures("home")
# Reads as many lines as its name says before it answers; what is given to it is in `CLAUDE.log`.
_READER = """\
import json, os, sys
if "--version" in sys.argv:
    print(os.environ.get("VERSION", "2.1.332"))
    sys.exit()
log = open(os.environ["LOG"], "a")
def take():
    line = sys.stdin.readline()
    log.write(line)
    log.flush()
    return json.loads(line) if line else {}
def say(**fields):
    print(json.dumps(fields), flush=True)
first = [take() for _ in range(int(os.environ["READS"]))]
end = os.environ.get("ENDS")
if "acknowledged" in (end or ""):
    say(type="command_lifecycle", command_uuid=first[1].get("uuid"), state="started")
if end:
    sys.exit(3)
while first and first[0]:
    message = first.pop(0)
    if message["type"] == "user":
        uuid = message["uuid"]
        say(type="command_lifecycle", command_uuid=uuid, state="started")
        say(type="result", subtype="success", is_error=False, result="done", num_turns=1,
            total_cost_usd=0.0, user_message_uuids=[uuid], usage={})
        say(type="command_lifecycle", command_uuid=uuid, state="completed")
    else:
        version = os.environ.get("VERSION", "2.1.332")
        told = {"commands": [], "claude_code_version": version, "version": version}
        say(type="control_response", response={
            "subtype": "success", "request_id": message["request_id"], "response": told})
    first = first or [take()]
"""


class Opened:
    """A session of a program that reads before it answers.

    Args:
        folder: for the program, what it was given, and the session.
        reads: how many lines the program reads before it answers any.
        variables: of the program.
        options: of the orchestrator.
    """

    def __init__(self, folder: Path, reads: int, options: Any, **variables: str) -> None:
        program = folder / "claude"
        program.write_text(f"#!{sys.executable}\n{_READER}")
        program.chmod(0o755)
        self.log = folder / "given.log"
        self.log.touch()
        environ = {"LOG": str(self.log), "READS": str(reads), "PATH": "/usr/bin:/bin", **variables}
        self.claude = MPMOrchestrator(
            claude_path=str(program),
            environ=environ,
            state_dir=str(folder / "state"),
            start_timeout=SECONDS,
            **{"use_framework": False, **options},
        )

    def given(self) -> list[str]:
        """Return what kind each message was that the program has read."""
        messages = map(json.loads, self.log.read_text().splitlines())
        return [each.get("request", {}).get("subtype") or each["type"] for each in messages]

    def kept(self) -> list[str]:
        """Return the prompts that are kept."""
        folder = self.claude.store.folder(self.claude.session_id)
        return [each.text for each in prompts(folder)]


@pytest.fixture
def opened(tmp_path: Path) -> Any:
    def make(reads: int, options: dict[str, Any] | None = None, **variables: str) -> Opened:
        return Opened(tmp_path, reads, options or {}, **variables)

    return make


def test_the_prompt_does_not_wait_for_the_answer_to_the_first_request(opened: Any) -> None:
    made = opened(reads=2)
    made.claude.begin_with("hi")
    with made.claude as claude:
        assert claude.first_turn().check().verdict.ok
    assert made.given()[:2] == ["initialize", "user"]
    assert made.given().count("user") == 1


def test_it_waits_where_nobody_knows_the_version(opened: Any) -> None:
    made = opened(reads=2, VERSION="")
    made.claude.begin_with("hi")
    with made.claude as claude:
        assert claude.first_turn().check().verdict.ok
    assert made.given()[:3] == ["initialize", "get_binary_version", "user"]


def test_it_waits_where_the_first_request_has_the_agents(opened: Any, tmp_path: Path) -> None:
    framework = tmp_path / "framework"
    (framework / "agents").mkdir(parents=True)
    (framework / "INSTRUCTIONS.md").write_text("Be kind.\n")
    (framework / "agents" / "digger.md").write_text(
        "---\nname: digger\ndescription: digs\n---\nDig.\n"
    )
    made = opened(1, {"use_framework": True, "framework_path": str(framework)}, VERSION="2.1.257")
    made.claude.begin_with("hi")
    with made.claude as claude:
        assert not Handshake(claude._live).lets_prompts_through
        assert claude.first_turn().check().verdict.ok
    first = json.loads(made.log.read_text().splitlines()[0])
    assert "digger" in first["request"]["agents"]


def test_a_start_that_failed_takes_the_prompt_back(opened: Any) -> None:
    made = opened(reads=2, ENDS="now")
    made.claude.begin_with("hi")
    with pytest.raises(LaunchError, match="ended with status 3"):
        made.claude.start_or_raise()
    assert made.kept() == []


def test_what_claude_has_acknowledged_stays_though_the_start_failed(opened: Any) -> None:
    made = opened(reads=2, ENDS="acknowledged")
    made.claude.begin_with("hi")
    with pytest.raises(LaunchError, match="ended with status 3"):
        made.claude.start_or_raise()
    assert made.kept() == ["hi"]


def test_each_of_several_starts_is_one_without_a_prompt_until_claude_is_there(
    opened: Any,
) -> None:
    made = opened(1, {"start_retries": 1, "retry_backoff": 0.01}, ENDS="now")
    made.claude.begin_with("hi")
    with pytest.raises(LaunchError, match="ended with status 3"):
        made.claude.start_or_raise()
    assert made.given()[:2] == ["initialize", "initialize"]
    assert made.kept() == []


def test_an_override_of_the_hook_for_input_has_its_prompt_after_the_start(opened: Any) -> None:
    seen: list[bool] = []

    class Own(MPMOrchestrator):
        def start(self) -> bool:
            started = super().start()
            seen.append(started)
            return started

        def send_input(self, text: str) -> None:
            assert seen == [True]
            super().send_input(f"{text}!")

    made = opened(reads=1)
    made.claude.__class__ = Own
    made.claude.begin_with("hi")
    with made.claude as claude:
        assert claude.first_turn().check().verdict.ok
        assert made.kept() == ["hi!"]


def test_ctrl_c_while_claude_starts_ends_it(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = opened(reads=2)

    def interrupted(handshake: Handshake, timeout: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Handshake, "wait", interrupted)
    made.claude.begin_with("hi")
    with pytest.raises(KeyboardInterrupt), made.claude:
        pytest.fail("it did not start")
    folder = made.claude.store.folder(made.claude.session_id)
    assert folder.has_ended()
    assert folder.exit_status() is not None


def test_there_is_no_first_turn_without_a_prompt(opened: Any) -> None:
    with opened(reads=1).claude as claude, pytest.raises(UsageError, match="begin_with"):
        claude.first_turn()


def test_the_clock_of_the_turn_starts_when_claude_is_there(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    claude = make_claude()
    claude.begin_with("hi", timeout=SECONDS)
    with claude:
        turn = claude.first_turn()
        assert turn.check().text == "Claude heard: hi"
        assert claude.first_turn() is turn
        assert claude.ask("next").check().text == "Claude heard: next"
    assert [each.prompt for each in model.requests if not each.is_side] == ["hi", "next"]
