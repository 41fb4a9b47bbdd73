"""Claude may change the identity of a conversation: the one that it held last is gone on with."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.engine.options import without_conversation
from claude_mpm.testing import Call

if TYPE_CHECKING:
    from claude_mpm.testing import ScriptedModel
    from command import Command
    from conftest import MakeClaude


def heard(model: ScriptedModel) -> str:
    return json.dumps(model.requests[-1].body["messages"])


def test_after_clear_the_conversation_that_was_begun_then_is_resumed(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    with make_claude() as claude:
        claude.ask("my name is Bob").check()
        claude.ask("/clear", command=True).check()
        claude.ask("the roof is red").check()
        session = claude.session_id
    with make_claude(session_id=session, resume=True) as again:
        again.ask("go on").check()
    assert "the roof is red" in heard(model)
    assert "Bob" not in heard(model)


def test_after_clear_and_nothing_more_an_empty_conversation_is_resumed(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    with make_claude() as claude:
        claude.ask("my name is Bob").check()
        claude.ask("/clear", command=True).check()
        session = claude.session_id
    with make_claude(session_id=session, resume=True) as again:
        again.ask("go on").check()
    assert "Bob" not in heard(model)


@pytest.mark.parametrize(
    "chosen",
    [["--session-id", str(uuid.UUID(int=7))], [f"--session-id={uuid.UUID(int=8)}"]],
    ids=["two words", "one word"],
)
def test_a_conversation_of_the_users_choice_is_resumed(
    command: Command, model: ScriptedModel, chosen: list[str]
) -> None:
    command("run", "my name is Bob", "--", *chosen)
    command("resume", command.session().path.name, "go on")
    assert "my name is Bob" in heard(model)


def test_a_fork_is_resumed_and_not_what_it_came_from(
    command: Command, model: ScriptedModel
) -> None:
    command("run", "--session", "first", "my name is Bob")
    known = command.json("show")["claude_session_id"]
    command(
        "run", "--session", "fork", "the roof is red", "--", f"--resume={known}", "--fork-session"
    )
    assert "my name is Bob" in heard(model)
    command("resume", "first", "it rains")
    command("resume", "fork", "go on")
    assert "my name is Bob" in heard(model)
    assert "the roof is red" in heard(model)
    assert "it rains" not in heard(model)


def test_a_session_that_is_forked_on_a_resume_goes_on_with_the_fork(
    command: Command, model: ScriptedModel
) -> None:
    command("run", "--session", "s", "my name is Bob")
    before = command.json("show")["claude_session_id"]
    command("resume", "s", "the roof is red", "--", "--fork-session")
    command("resume", "s", "go on")
    assert "the roof is red" in heard(model)
    assert command.json("show")["claude_session_id"] != before


def test_a_claude_that_dies_after_clear_is_brought_back_with_what_it_held(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    once = "test -e died || { touch died; kill -9 $PPID; }"
    model.on("go on", Call("Bash", command=once), "It is whole.")
    with make_claude(resume_lost=1, allowed_tools=["Bash"]) as claude:
        claude.ask("my name is Bob").check()
        claude.ask("/clear", command=True).check()
        claude.ask("the roof is red").check()
        turn = claude.ask("go on").wait(60)
        assert turn.verdict.ok
        assert turn.known.resumed == 1
    assert "the roof is red" in heard(model)
    assert "Bob" not in heard(model)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["--effort", "high"], ["--effort", "high"]),
        (["--session-id", "x", "--effort", "high"], ["--effort", "high"]),
        (["--resume", "--effort", "high"], ["--effort", "high"]),
        (["-r", "x", "-c", "--continue", "--fork-session"], []),
        (["--resume=x", "word"], ["word"]),
        (["--add-dir", "a", "--session-id"], ["--add-dir", "a"]),
    ],
)
def test_what_chooses_a_conversation_is_left_out(given: list[str], kept: list[str]) -> None:
    assert without_conversation(given) == kept


def test_a_fork_stays_where_it_is_asked_for() -> None:
    found: Any = without_conversation(["--fork-session", "--resume=x", "--verbose"], forks=True)
    assert found == ["--fork-session", "--verbose"]
