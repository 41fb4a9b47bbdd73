"""A prompt is typed once, when Claude is ready; what is typed arrives as it was meant."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from claude_mpm.terminal.claude_config import Activity
from claude_mpm.terminal.prompt_typer import CTRL_C, ENTER, ESCAPE, PromptTyper, typed

BEGIN, END = b"\x1b[200~", b"\x1b[201~"
INTERRUPT: dict[str, Any] = {"type": "control_request", "request": {"subtype": "interrupt"}}


def _idle(at: float = 1.0) -> Activity:
    return Activity(session_id="s", status="idle", status_updated_at=at)


def _busy(at: float = 2.0) -> Activity:
    return Activity(session_id="s", status="busy", status_updated_at=at)


def _waiting(at: float = 3.0) -> Activity:
    return Activity(session_id="s", status="waiting", status_updated_at=at)


class Claude:
    """Takes down what is pressed."""

    def __init__(self, *, is_claude: bool = True) -> None:
        self.keys = b""
        self.told: list[tuple[str, str]] = []
        self.typer = PromptTyper(
            self._press, lambda *told: self.told.append(told), is_claude=is_claude
        )

    def _press(self, keys: bytes) -> None:
        self.keys += keys

    def puts(self, text: str, uuid: str = "u1") -> None:
        self.hears({"type": "user", "uuid": uuid, "message": {"content": text}})

    def hears(self, message: dict[str, Any]) -> None:
        self.typer.hear("000001", json.dumps(message).encode())

    def pressed(self) -> bytes:
        keys, self.keys = self.keys, b""
        return keys


def _pasted(keys: bytes) -> str:
    pieces = keys.split(BEGIN)[1:]
    assert all(piece.endswith(END) for piece in pieces)
    return b"".join(piece.removesuffix(END) for piece in pieces).decode()


@given(st.text())
def test_nothing_in_a_prompt_is_a_key(prompt: str) -> None:
    keys = typed(prompt)
    text = _pasted(keys)
    assert "\x1b" not in text
    assert not any(ord(c) < 32 and c not in "\t\n" for c in text)


def test_a_prompt_arrives_whole_in_pieces_that_claude_takes_for_the_persons_words() -> None:
    prompt = "".join(f"line {n}, with a word or two\n" for n in range(200))
    keys = typed(prompt)
    assert _pasted(keys) == prompt
    assert keys.count(BEGIN) == 100


def test_an_exclamation_mark_at_the_beginning_is_no_command_for_the_shell() -> None:
    assert _pasted(typed("!rm -rf .")) == " !rm -rf ."


def test_a_prompt_waits_until_claude_is_idle_and_is_told_when_it_has_started() -> None:
    claude = Claude()
    claude.puts("Go")
    claude.typer.act(_busy(0.5), now=0.0)
    assert claude.pressed() == b""
    claude.typer.act(_idle(), now=1.0)
    assert claude.pressed() == typed("Go") + ENTER
    assert not claude.told
    claude.typer.act(_busy(), now=1.1)
    assert claude.told == [("u1", "started")]


def test_text_pasted_enter_lost() -> None:
    claude = Claude()
    claude.puts("Go")
    claude.typer.act(_idle(), now=1.0)
    claude.pressed()
    claude.typer.act(_idle(), now=1.2)
    assert claude.pressed() == b""
    claude.typer.act(_idle(), now=2.0)
    assert claude.pressed() == ENTER  # and no more of the text
    claude.typer.act(_busy(), now=2.1)
    assert claude.told == [("u1", "started")]


def test_a_prompt_that_is_never_taken_is_told() -> None:
    claude = Claude()
    claude.puts("Go")
    for n in range(40):
        claude.typer.act(_idle(), now=float(n))
    assert claude.told == [("u1", "refused")]


def test_enter_is_not_pressed_again_when_claude_asks_something() -> None:
    claude = Claude()
    claude.puts("Go")
    claude.typer.act(_idle(), now=1.0)
    claude.pressed()
    for n in range(2, 9):
        claude.typer.act(_waiting(), now=float(n))
    assert claude.pressed() == b""


def test_a_turn_that_is_over_before_claude_says_that_it_works() -> None:
    claude = Claude()
    claude.puts("One")
    claude.puts("Two", "u2")
    claude.typer.act(_idle(), now=1.0)
    claude.typer.act(_idle(), now=1.1, arrived=True)
    assert claude.told == [("u1", "started")]
    claude.pressed()
    claude.typer.act(_idle(), now=1.2)  # that may be from before
    assert claude.pressed() == b""
    claude.typer.act(_idle(), now=3.0)
    assert _pasted(claude.pressed().removesuffix(ENTER)) == "Two"


def test_an_interrupt_is_escape_and_what_claude_gives_back_to_be_edited_is_cleared() -> None:
    claude = Claude()
    claude.typer.act(_busy(), now=0.0)
    claude.hears(INTERRUPT)
    claude.typer.act(_busy(), now=1.0)
    claude.typer.act(_busy(), now=1.1)
    assert claude.pressed() == ESCAPE
    claude.typer.act(_idle(3.0), now=1.2)
    assert claude.pressed() == CTRL_C


def test_an_interrupt_of_an_idle_claude_presses_nothing() -> None:
    claude = Claude()
    claude.hears(INTERRUPT)
    claude.typer.act(_idle(), now=1.0)
    assert claude.pressed() == b""


def test_prompts_that_were_not_typed_yet_are_cancelled_with_the_interrupt_of_a_stop() -> None:
    claude = Claude()
    claude.puts("Never")
    claude.hears(
        {"type": "control_request", "request": {**INTERRUPT["request"], "cancel_queued": True}}
    )
    claude.typer.act(_idle(), now=1.0)
    assert claude.told == [("u1", "cancelled")]
    assert claude.pressed() == b""


def test_the_end_waits_for_the_prompts_before_it_and_for_the_turn() -> None:
    claude = Claude()
    claude.puts("Go")
    claude.typer.hear("EOF", b"")
    claude.typer.act(_idle(), now=1.0)
    assert _pasted(claude.pressed().removesuffix(ENTER)) == "Go"
    claude.typer.act(_busy(), now=1.1)
    claude.typer.act(_busy(), now=9.0)
    assert claude.pressed() == b""
    claude.typer.act(_idle(4.0), now=10.0)
    assert claude.pressed() == CTRL_C * 2
    assert not claude.typer.gives_up


def test_a_dialog_that_nobody_will_answer_is_closed_before_the_end() -> None:
    claude = Claude()
    claude.typer.hear("EOF", b"")
    claude.typer.act(_waiting(), now=1.0)
    assert claude.pressed() == ESCAPE
    for n in range(3, 10):
        claude.typer.act(_waiting(), now=float(n))
    assert claude.typer.gives_up


def test_a_program_that_is_not_claude_gets_what_was_put() -> None:
    program = Claude(is_claude=False)
    program.typer.hear("000001", b"some line\n")
    program.typer.hear("EOF", b"")
    program.typer.act(Activity(), now=1.0)
    assert program.pressed() == b"some line\n\x04"
