"""Questions at the terminal beside answers from elsewhere, and calls that cannot be meant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from calls import call, make_session
from claude_mpm.journal.answers import Answer, read_answers, settle
from claude_mpm.journal.inbox import Inbox
from claude_mpm.testing import Call
from command import PROGRAM, Command
from terminal import Terminal

if TYPE_CHECKING:
    from claude_mpm.testing import ScriptedModel


def wants_to_write(model: ScriptedModel) -> Path:
    target = Path("out.txt").absolute()
    model.on("write", Call("Write", file_path=str(target), content="written"), "Answered.")
    return target


def test_a_question_vanishes_from_the_terminal_when_somebody_else_answers_it(
    command: Command, model: ScriptedModel
) -> None:
    target = wants_to_write(model)
    with Terminal([str(PROGRAM), "--orchestrator", "local"], command.environ) as terminal:
        terminal.expect("› ")
        terminal.type("write\r")
        terminal.expect("allow once")
        (question,) = command.json("questions")
        command("answer", command.session().path.name, question["question"], "allow")
        terminal.expect("answered elsewhere: allowed by command")
        terminal.expect("Answered.")
        terminal.expect("› ")
        terminal.type("/quit\r")
        assert terminal.wait() == 0
    assert target.exists()


def test_a_question_can_be_left_open_and_is_then_answered_by_command(
    command: Command, model: ScriptedModel
) -> None:
    target = wants_to_write(model)
    with Terminal([str(PROGRAM), "--orchestrator", "local"], command.environ) as terminal:
        terminal.expect("› ")
        terminal.type("write\r")
        terminal.expect("allow once")
        terminal.type("what\r")
        terminal.expect("y, n, w or l")
        terminal.type("l\r")
        command("answer", command.session().path.name, "deny", "--interrupt")
        terminal.expect("interrupted")
        terminal.expect("› ")
        terminal.type("/quit\r")
        assert terminal.wait() == 0
    assert not target.exists()


def test_what_was_typed_before_a_question_does_not_answer_it(
    command: Command, model: ScriptedModel
) -> None:
    target = wants_to_write(model)
    with Terminal([str(PROGRAM), "--orchestrator", "local"], command.environ) as terminal:
        terminal.expect("› ")
        terminal.type("write\ry\ry\r")
        terminal.expect("allow once")
        assert not target.exists()
        terminal.type("n\r")
        terminal.expect("Answered.")
        terminal.expect("› ")
        terminal.type("/quit\r")
        assert terminal.wait() == 0
    assert not target.exists()
    (answer,) = read_answers(command.session()).values()
    assert (answer.decision, answer.by) == ("deny", "terminal")


def test_choices_are_made_at_the_terminal_by_number_and_in_words(
    command: Command, model: ScriptedModel
) -> None:
    options = [{"label": "A", "description": "a"}, {"label": "B", "description": "b"}]
    which = {"question": "Which?", "header": "x", "options": options, "multiSelect": False}
    why = {"question": "Why?", "header": "y", "options": options, "multiSelect": True}
    model.on("choose", Call("AskUserQuestion", questions=[which, why]), "Chosen.")
    with Terminal([str(PROGRAM), "--orchestrator", "local"], command.environ) as terminal:
        terminal.expect("› ")
        terminal.type("choose\r")
        terminal.expect("Which?")
        terminal.expect("2  B")
        terminal.expect("a number")
        terminal.type("2\r")
        terminal.expect("Why?")
        terminal.expect("a number")
        terminal.type("1, no idea\r")
        terminal.expect("Chosen.")
        terminal.expect("› ")
        terminal.type("/quit\r")
        assert terminal.wait() == 0
    results = " ".join(r.text for request in model.requests for r in request.tool_results)
    assert '"Which?"="B"' in results
    assert '"Why?"="A, no idea"' in results


def test_nothing_waits_where_nothing_was_started(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "questions") == (0, "", "no question waits\n")
    assert call(capsys, "questions", "--json").json == []
    assert call(capsys, "questions", "--answered") == (0, "", "no question was answered\n")


def test_answers_of_a_session_that_has_ended_are_still_listed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = make_session("s1", ["Hello"])
    answer = Answer(question="q-1", tool="Write", decision="deny", reason="no", at=1.0)
    settle(folder, Inbox(folder), answer)
    (row,) = call(capsys, "questions", "--answered").rows
    assert (row[:2], row[3:]) == (["s1", "q-1"], ["Write", "deny", "api", "no"])
    assert call(capsys, "answer", "s1", "q-1", "allow").err.startswith(
        "claude-mpm: question q-1 is answered already: denied by api at 19"
    )
    folder.answers.write_text("damaged\n")
    ended = call(capsys, "questions", "--answered")
    assert (ended.status, ended.out) == (0, "")
    assert "session s1 is left out" in ended.err


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["s1", "allow"], 1, "session s1 has ended, and its questions with it"),
        (["s1", "q", "deny"], 1, "has ended"),
        (["s1", "q", "r", "deny"], 2, "one question at a time"),
        (["nobody", "deny"], 2, "no session 'nobody' here"),
        (["s1", "deny", "--input", "{}"], 2, "for what is allowed"),
        (["s1", "deny", "--choose", "A"], 2, "for what is allowed"),
        (["s1", "allow", "--interrupt"], 2, "for what is denied"),
        (["s1", "allow", "--input", "{"], 2, "--input is not JSON"),
        (["s1", "allow", "--input", "[]"], 2, "not a JSON object"),
        (["s1", "", "allow"], 2, "the question's name is empty"),
        (["s1", "allow", "--input", "[" * 100_000], 2, "--input is not JSON"),
        (["s1", "deny", "-o", f"x={'[' * 100_000}"], 2, "nested too deeply"),
        (["", "allow"], 2, "no session '' here"),
        (["s1", "maybe"], 2, "'maybe' is not one of"),
        (["s1"], 2, "Missing argument"),
    ],
)
def test_an_answer_that_cannot_be_meant_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], words: list[str], status: int, said: str
) -> None:
    make_session("s1", ["Hello"])
    ended = call(capsys, "answer", *words)
    assert ended.status == status
    assert said in ended.err
    assert ended.err.count("\n") == 1
