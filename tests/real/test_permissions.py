"""The real Claude Code asks for permission."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from claude_mpm import Question
from claude_mpm.errors import UsageError
from claude_mpm.testing import Call

if TYPE_CHECKING:
    from claude_mpm.testing import ScriptedModel
    from conftest import MakeClaude

WRITE = Call("Write", file_path="out.txt", content="written")


def test_a_question_is_denied_once_and_allowed_once(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    target = Path("out.txt").absolute()
    model.on("write", Call("Write", file_path=str(target), content="written"), "Answered.")
    seen, asked = [], []
    with make_claude(permissions="ask") as claude:
        for allowed in (False, True):
            turn = claude.ask("write")
            for item in turn.stream():
                if isinstance(item, Question):
                    seen.append((item.tool, item.input["content"]))
                    asked.append(item)
                    item.allow() if allowed else item.deny("not today")
            assert turn.verdict.ok
            assert target.exists() is allowed
            assert claude.questions() == []
            with pytest.raises(UsageError, match="answered already"):
                asked[-1].deny()
    assert seen == [("Write", "written")] * 2
    results = [r for request in model.requests for r in request.tool_results]
    assert any("not today" in result.text for result in results)


def test_a_function_answers_with_other_input(make_claude: MakeClaude, model: ScriptedModel) -> None:
    target = Path("out.txt").absolute()
    model.on("write", Call("Write", file_path=str(target), content="written"), "Answered.")

    def answer(question: Question) -> None:
        question.allow({**question.input, "content": "changed"})

    with make_claude(permissions=answer) as claude:
        assert claude.ask("write").check().text == "Answered."
    assert target.read_text() == "changed"


def test_without_anybody_to_ask_claude_refuses_the_tool_and_goes_on(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on("write", WRITE, "It was refused.")
    with make_claude() as claude:
        turn = claude.ask("write").check()
    assert turn.text == "It was refused."
    assert turn.results[0].denials == 1
    assert not Path("out.txt").exists()


def test_a_question_is_withdrawn_by_an_interrupt(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on("write", WRITE, "never said")
    with make_claude(permissions="ask") as claude:
        turn = claude.ask("write")
        question = next(item for item in turn.stream() if isinstance(item, Question))
        assert claude.questions() == [question]
        turn.interrupt()
        turn.wait()
        assert question.answered
        assert claude.ask("hello").text == "Claude heard: hello"
