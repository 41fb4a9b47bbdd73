"""A conversation on a terminal, with the real Claude Code and the scripted model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from claude_mpm.testing import Call, Delegate, Say, Stall
from terminal import CTRL_D, Terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_mpm.testing import ScriptedModel

    Open = Callable[..., Terminal]

COMMAND = str(Path(sys.executable).parent / "claude-mpm")


@pytest.fixture
def open_terminal(model: ScriptedModel, claude_path: str, tmp_path: Path) -> Open:
    def open_terminal(*arguments: str) -> Terminal:
        environ = model.environment(tmp_path / "home", CLAUDE_PATH=claude_path)
        return Terminal([COMMAND, *arguments], environ)

    return open_terminal


def test_a_conversation_with_tickets_delegations_and_a_summary(
    open_terminal: Open, model: ScriptedModel
) -> None:
    model.on(
        "Ship it",
        Delegate("qa", "Check it", does=[Call("Bash", command="echo checked"), "All green."]),
        "It is checked.\nTODO: Announce the release",
    )
    with open_terminal("--orchestrator", "local") as terminal:
        terminal.expect("› ")
        terminal.type("\rShip it\r")
        terminal.expect("⚙ Agent qa: Check it")
        terminal.expect("⚙ Bash echo checked")
        terminal.expect("⇠ qa completed")
        terminal.expect("It is checked.")
        terminal.expect("✎ task: Announce the release")
        terminal.expect("completed, $")
        terminal.type("/tickets\r")
        terminal.expect("Announce the release")
        terminal.type("/delegations\r")
        terminal.expect("Check it")
        terminal.type("/help\r")
        terminal.expect("/quit")
        terminal.type("/quit\r")
        terminal.expect("1 turn, $")
        terminal.expect("claude-mpm resume")
        assert terminal.wait() == 0


def test_ctrl_c_interrupts_the_answer_and_ctrl_d_leaves(
    open_terminal: Open, model: ScriptedModel
) -> None:
    model.on("Talk", Say("the beginning\nand"), Stall(), "never said")
    with open_terminal("--orchestrator", "local") as terminal:
        terminal.expect("› ")
        terminal.type("Talk\r")
        terminal.expect("the beginning")
        model.wait_for_stall()
        terminal.press_ctrl_c()
        terminal.expect("interrupting")
        terminal.expect("interrupted")
        terminal.expect("› ")
        terminal.type("Again\r")
        terminal.expect("Claude heard: Again")
        terminal.expect("› ")
        terminal.type(CTRL_D)
        assert terminal.wait() == 0
    assert "never said" not in terminal.shown


def test_ctrl_c_at_a_question_interrupts_the_turn_and_at_the_prompt_nothing(
    open_terminal: Open, model: ScriptedModel
) -> None:
    model.on("Wait", Call("Write", file_path="x", content="y"), "never said")
    with open_terminal("--orchestrator", "local") as terminal:
        terminal.expect("› ")
        terminal.type("Wait\r")
        terminal.expect("allow once")
        terminal.press_ctrl_c()
        terminal.expect("interrupted")
        terminal.expect("› ")
        terminal.press_ctrl_c()
        terminal.expect("Ctrl-D or /quit leaves")
        terminal.type("Again\r")
        terminal.expect("Claude heard: Again")
        terminal.type("/quit\r")
        assert terminal.wait() == 0


@pytest.mark.parametrize(
    ("keys", "told"),
    [("y\r", "written"), ("n\r", ""), ("w\rask me tomorrow\r", "ask me tomorrow")],
    ids=["allowed", "denied", "denied with a reason"],
)
def test_a_question_is_answered_at_the_terminal(
    open_terminal: Open, model: ScriptedModel, keys: str, told: str
) -> None:
    target = Path("out.txt").absolute()
    model.on("Write", Call("Write", file_path=str(target), content="written"), "Answered.")
    with open_terminal("--orchestrator", "local") as terminal:
        terminal.expect("› ")
        terminal.type("Write\r")
        terminal.expect("? Claude wants to use Write: out.txt")
        terminal.expect("allow once")
        for part in keys.split("\r")[:-1]:
            terminal.type(part + "\r")
        terminal.expect("Answered.")
        terminal.expect("› ")
        terminal.type("/quit\r")
        assert terminal.wait() == 0
    assert target.exists() is (told == "written")
    if told and told != "written":
        assert any(told in r.text for request in model.requests for r in request.tool_results)


def test_run_shows_only_the_answer_on_standard_output(
    open_terminal: Open, model: ScriptedModel
) -> None:
    model.on("Go", Call("Bash", command="echo x"), "The answer.")
    with open_terminal("run", "Go") as terminal:
        terminal.expect("⚙ Bash echo x")
        terminal.expect("The answer.")
        assert terminal.wait() == 0
