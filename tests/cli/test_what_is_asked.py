"""A person sees all that a tool gets before a yes counts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.cli.question_view import arguments_line, proposals, question_line, whole_question
from claude_mpm.conversation.question import Question
from claude_mpm.errors import UsageError
from claude_mpm.journal.answers import Answer, read_answers
from claude_mpm.testing import Call
from claude_mpm.testing.subject import until
from command import PROGRAM, Command
from terminal import Terminal

if TYPE_CHECKING:
    from claude_mpm.testing import ScriptedModel

PAYLOAD = "touch marker.txt"


class Mirror:
    def answer(self, answer: Answer) -> Answer:
        return answer


def question(tool: str, given: Any, **more: Any) -> Question:
    """Make a question whose answer is its own."""

    return Question("q-1", {"tool_name": tool, "input": given, **more}, Mirror())


def shown(tool: str, given: Any, **more: Any) -> str:
    return "\n".join(whole_question(question(tool, given, **more)))


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
@pytest.mark.parametrize("size", [(40, 100), (3, 20), (1, 1)])
def test_each_character_of_a_command_is_on_the_screen_before_yes_is_taken(
    command: Command, model: ScriptedModel, quiet: list[str], size: tuple[int, int]
) -> None:
    long = f"true {'a' * 3000}; {PAYLOAD}"
    model.on("Go", Call("Bash", command=long, description="run true"), "Answered.")
    words = [str(PROGRAM), "run", "--permissions", "ask", *quiet, "Go"]
    with Terminal(words, command.environ, size) as terminal:
        terminal.type("y\r")  # before it is asked: it is no answer
        terminal.expect("? Claude wants to use Bash")
        terminal.expect(long)
        terminal.expect("Claude's words: run true")
        terminal.expect("allow once")
        assert not Path("marker.txt").exists()
        terminal.type("y\r")
        terminal.expect("Answered.")
        assert terminal.wait() == 0
    assert Path("marker.txt").exists()


def test_the_content_of_a_file_is_shown_whole(command: Command, model: ScriptedModel) -> None:
    target = Path("out.txt").absolute()
    content = "\n".join(f"line {n}" for n in range(300)) + "\nthe last\x1b[2J"
    model.on("Go", Call("Write", file_path=str(target), content=content), "Answered.")
    words = [str(PROGRAM), "run", "--permissions", "ask", "Go"]
    with Terminal(words, command.environ) as terminal:
        terminal.expect(f"file_path: {target}")
        for line in range(300):
            terminal.expect(f"  │ line {line}\r\n")
        terminal.expect("the last\\x1b[2J")
        terminal.expect("All 304 lines of what Write gets are above.")
        terminal.expect("allow once")
        terminal.type("n\r")
        terminal.expect("Answered.")
        terminal.wait()
    assert not target.exists()


def test_a_question_is_on_the_terminal_where_standard_error_goes_elsewhere(
    command: Command, model: ScriptedModel
) -> None:
    model.on("Go", Call("Bash", command=PAYLOAD), "Answered.")
    words = ["sh", "-c", f"exec {PROGRAM} run --permissions ask Go 2>err.log"]
    with Terminal(words, command.environ) as terminal:
        terminal.expect(f"command: {PAYLOAD}")
        terminal.expect("allow once")
        terminal.type("y\r")
        terminal.expect("Answered.")
        assert terminal.wait() == 0


def test_a_change_shows_both_texts() -> None:
    given = {"file_path": "/a/b.py", "old_string": "one\ntwo", "new_string": "one\n\nthree"}
    assert shown("Edit", given, description="b.py") == (
        "? Claude wants to use Edit: b.py\n"
        "  file_path: /a/b.py\n"
        "  old_string:\n  - one\n  - two\n"
        "  new_string:\n  + one\n  + \n  + three"
    )


def test_an_address_and_nested_input_are_shown_whole() -> None:
    url = f"https://example.org/{'a' * 500}?x=y"
    text = shown("WebFetch", {"url": url, "prompt": "read"}, description=f"{url[:50]}…")
    assert f"url: {url}" in text
    assert "prompt: read" in text
    given = {"title": "t", "description": "an argument", "deep": {"list": [1, {"x": "\x1b"}]}}
    text = shown("mcp__tracker__make", given, description="make")
    for part in ("title: t", "description: an argument", '"x": "\\u001b"', "Claude's words: make"):
        assert part in text


@pytest.mark.parametrize(
    ("trick", "seen"),
    [
        ("ls\nrm -rf x", "  │ ls\n  │ rm -rf x"),
        ("ls\rrm", "ls\\x0drm"),
        ("ls\trm", "ls\\trm"),
        ("ls\u202erm", "ls<U+202E>rm"),
        ("ls\u200brm", "ls<U+200B>rm"),
        ("ls r\u0336m\u0336", "ls r<U+0336>m<U+0336>"),
        ("ls\x1b[8mrm", "ls\\x1b[8mrm"),
        ("ls\x08\x08rm", "ls\\x08\\x08rm"),
        (f"ls{' ' * 4000}; rm", "ls<4000 blanks>; rm"),
        ("ls\u00a0rm", "ls<U+00A0>rm"),
        ("ls\n  allow once (y)", "  │   allow once (y)"),
        ("", "command: (empty)"),
    ],
)
def test_nothing_hides_in_a_command(trick: str, seen: str) -> None:
    assert seen in shown("Bash", {"command": trick})
    assert "?" not in shown(f"Ba\x1b[2Jsh{trick}", {}).replace("? Claude wants", "")


@pytest.mark.parametrize("given", ["text", ["a", 1], 7, True, {"a": {"b": [None, 1.5]}}, None, []])
def test_an_odd_input_is_a_question_like_any_other(given: Any) -> None:
    asked = question("Bash", given, permission_suggestions={"type": 1}, description=[1])
    lines = whole_question(asked)
    assert lines[0] == "? Claude wants to use Bash"
    assert "\n" not in question_line(asked.tool, asked.input)
    assert asked.choices == []
    assert asked.malformed is (given is not None and not isinstance(given, dict))
    if asked.malformed:
        with pytest.raises(UsageError, match="no JSON object"):
            asked.allow()
        assert not asked.answered
    asked.deny()
    assert asked.answered


@pytest.mark.parametrize(
    "asked",
    [5, "x", [1, {"question": 3, "options": 7}], {"question": "x"}, [{"options": ["A", {}]}]],
)
def test_odd_choices_and_proposals_are_no_fault_of_ours(asked: Any) -> None:
    each = question("AskUserQuestion", {"questions": asked})
    assert isinstance(whole_question(each), list)
    assert isinstance(arguments_line(each.input), str)
    odd = [5, None, {"type": "addRules", "rules": 5}, {"type": "addDirectories", "directories": 5}]
    assert proposals(odd) == []


def test_five_megabytes_and_a_hundred_levels_are_shown() -> None:
    deep: Any = "end"
    for _ in range(200):
        deep = {"a": deep}
    text = shown("mcp__x__y", {"big": "x" * 5_000_000, "deep": deep})
    assert len(text) > 5_000_000
    assert '"end"' in text


def test_one_choice_of_several_options_may_be_given_one_by_one() -> None:
    options = [{"label": "A"}, {"label": "B"}, {"label": "C"}]
    which = {"question": "Which?", "options": options, "multiSelect": True}
    asked = question("AskUserQuestion", {"questions": [which]})
    asked.choose("A", "C")
    assert asked.answer is not None
    assert asked.answer.response["updatedInput"]["answers"] == {"Which?": "A, C"}
    one = question("AskUserQuestion", {"questions": [{**which, "multiSelect": False}]})
    with pytest.raises(UsageError, match=r"takes 1 choices, not 2; .* 'A, B'"):
        one.choose("A", "C")
    assert not one.answered


@pytest.mark.parametrize("typed", ["y", "n", ""])
def test_answer_shows_what_it_allows_and_asks(
    command: Command, model: ScriptedModel, typed: str
) -> None:
    model.on("Go", Call("Bash", command=PAYLOAD, description="nothing"), "Answered.")
    session = command("run", "--detach", "Go", "--permissions", "ask").stdout.strip()
    until(lambda: command.json("questions"), "Claude never asks")
    with Terminal([str(PROGRAM), "answer", session, "allow"], command.environ) as terminal:
        terminal.type("y\r")  # before it is shown
        terminal.expect(f"command: {PAYLOAD}")
        terminal.expect("Claude's words: nothing")
        terminal.expect("allow this, once?")
        terminal.type(f"{typed}\r")
        assert terminal.wait() == (0 if typed == "y" else 1)
    assert re.search("allowed by command" if typed == "y" else "left open", terminal.shown)
    assert len(read_answers(command.session())) == (typed == "y")
    if typed != "y":
        assert len(command.json("questions")) == 1
