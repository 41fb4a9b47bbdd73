"""A prompt is typed once, when Claude is ready; what is typed arrives as it was meant."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_mpm.terminal.claude_config import ClaudeStatus
from claude_mpm.terminal.prompt_typer import (
    CTRL_C,
    ENTER,
    ESCAPE,
    PromptTyper,
    lifecycle,
    paste_keys,
)

BEGIN, END = b"\x1b[200~", b"\x1b[201~"
INTERRUPT: dict[str, Any] = {"type": "control_request", "request": {"subtype": "interrupt"}}


def _idle(at: float = 1.0) -> ClaudeStatus:
    return ClaudeStatus(session_id="s", status="idle", status_updated_at=at)


def _busy(at: float = 2.0) -> ClaudeStatus:
    return ClaudeStatus(session_id="s", status="busy", status_updated_at=at)


def _waiting(at: float = 3.0) -> ClaudeStatus:
    return ClaudeStatus(session_id="s", status="waiting", status_updated_at=at)


class Claude:
    """Takes down what is pressed, and shows something, or writes a line, when told."""

    def __init__(self, *, is_claude: bool = True, limit: float | None = 60.0) -> None:
        self.typer = PromptTyper(limit, "s1", is_claude=is_claude)
        self.shown = 0.0

    def puts(self, text: str, uuid: str = "u1") -> None:
        self.hears({"type": "user", "uuid": uuid, "message": {"content": text}})

    def hears(self, message: dict[str, Any]) -> None:
        self.typer.receive("000001", json.dumps(message).encode())

    def act(self, activity: ClaudeStatus, now: float) -> None:
        self.typer.act(activity, now, self.shown)

    def writes(self, line: dict[str, Any], now: float) -> None:
        """Write a line of the transcript, as the journal's writer sees it."""
        report = self.typer.match(json.dumps(line).encode())
        if report is not None:
            if report.prompt:
                self.typer.notes.append(lifecycle(report.prompt, report.state, report.reason))
            self.typer.confirm(report, now)

    def pressed(self) -> bytes:
        keys = bytes(self.typer.keys)
        self.typer.keys.clear()
        return keys

    @property
    def told(self) -> list[tuple[str, str]]:
        notes = [note for note in self.typer.notes if note["type"] == "command_lifecycle"]
        return [(note["command_uuid"], note["state"]) for note in notes]


def _line(text: str, uuid: str = "l1", source: str = "typed") -> dict[str, Any]:
    message = {"role": "user", "content": text}
    return {"type": "user", "message": message, "uuid": uuid, "promptSource": source}


def _types(claude: Claude, text: str, now: float = 1.0) -> None:
    """Put a prompt to an idle Claude that shows it, and let Enter be pressed."""
    claude.puts(text)
    claude.act(_idle(), now)
    assert _pasted(claude.pressed())
    claude.shown = now + 0.01
    claude.act(_idle(), now + 0.2)
    assert claude.pressed() == ENTER


def _pasted(keys: bytes) -> str:
    pieces = keys.split(BEGIN)[1:]
    assert all(piece.endswith(END) for piece in pieces)
    return b"".join(piece.removesuffix(END) for piece in pieces).decode()


@given(st.text())
def test_nothing_in_a_prompt_is_a_key(prompt: str) -> None:
    keys = paste_keys(prompt)
    text = _pasted(keys)
    assert "\x1b" not in text
    assert not any(ord(c) < 32 and c not in "\t\n" for c in text)


def test_a_prompt_arrives_whole_in_pieces_that_claude_takes_for_the_persons_words() -> None:
    prompt = "".join(f"line {n}, with a word or two\n" for n in range(200))
    keys = paste_keys(prompt)
    assert _pasted(keys) == prompt
    assert keys.count(BEGIN) == 100


def test_an_exclamation_mark_at_the_beginning_is_no_command_for_the_shell() -> None:
    assert _pasted(paste_keys("!rm -rf .")) == " !rm -rf ."


def test_a_prompt_waits_until_claude_is_idle_and_has_started_with_its_line() -> None:
    claude = Claude()
    claude.puts("Go")
    claude.act(_busy(0.5), 0.0)
    assert claude.pressed() == b""
    claude.act(_idle(), 1.0)
    assert claude.pressed() == paste_keys("Go")
    claude.act(_idle(), 1.5)
    assert claude.pressed() == b""  # it does not show the prompt yet
    claude.shown = 1.6
    claude.act(_idle(), 1.65)
    assert claude.pressed() == b""  # there may be more of it to come
    claude.act(_idle(), 1.75)
    assert claude.pressed() == ENTER
    assert not claude.told
    claude.writes(_line("Go"), 1.8)
    assert claude.told == [("u1", "started")]


def test_enter_without_effect_is_pressed_again_and_no_more_of_the_text() -> None:
    claude = Claude()
    _types(claude, "Go")
    claude.act(_idle(), 1.5)
    assert claude.pressed() == b""
    claude.act(_idle(), 1.8)
    assert claude.pressed() == ENTER
    claude.writes(_line("Go"), 1.9)
    assert claude.told == [("u1", "started")]


def test_enter_is_not_pressed_on_what_is_new_on_the_screen() -> None:
    claude = Claude()
    _types(claude, "Go")
    for n in range(14, 60, 2):  # the turn, or a dialog of which Claude has said nothing yet
        claude.shown = now = n / 10
        claude.act(_idle(), now)
        claude.act(_idle(), now + 0.1)
    assert claude.pressed() == b""


def test_enter_is_pressed_though_there_is_always_something_new() -> None:
    claude = Claude()
    claude.puts("Go")
    claude.act(_idle(), 1.0)
    claude.pressed()
    for n in range(11, 35):
        claude.shown = n / 10
        claude.act(_idle(), n / 10)
    assert claude.pressed() == ENTER


@pytest.mark.parametrize("activity", [_waiting(), _busy()], ids=["dialog", "work"])
def test_enter_is_not_pressed_where_claude_asks_or_works(activity: ClaudeStatus) -> None:
    claude = Claude()
    _types(claude, "Go")
    for n in range(2, 500):
        claude.act(activity, float(n))
    assert claude.pressed() == b""
    assert ("u1", "refused") not in claude.told


def test_what_claude_says_of_itself_proves_nothing() -> None:
    claude = Claude()
    _types(claude, "Go")
    claude.act(_busy(), 1.3)
    assert claude.told == [("u1", "queued")]
    claude.act(_idle(4.0), 1.4)
    claude.act(_idle(4.0), 2.0)
    assert claude.pressed() == ENTER
    claude.writes(_line("Go"), 2.1)
    assert claude.told[-1] == ("u1", "started")


@pytest.mark.parametrize(
    ("prompt", "line"),
    [
        ("Go", _line("Go")),
        ("two\tlines\n of it \n", _line("two    lines\n of it")),
        ("Go on", _line("half a line Go on")),
        ("word " * 50, _line("<pasted_content>\n" + "word " * 50 + "</pasted_content>")),
        ("Go", _line("another's\nGo", source="queued")),
        ("!ls", _line(" !ls")),
        ("ends in \\", _line("ends in \\")),
        (
            "/compact  all of it",
            _line(
                "<command-name>/compact</command-name>\n <command-message>compact"
                "</command-message>\n <command-args>all of it</command-args>",
                source="",
            ),
        ),
        (
            "/clear",
            {
                "type": "system",
                "subtype": "local_command",
                "uuid": "l1",
                "content": "<command-name>/clear</command-name><command-args></command-args>",
            },
        ),
        (
            "Go",
            {
                "type": "queue-operation",
                "operation": "remove",
                "content": "Go",
                "reason": "absorbed_mid_turn",
            },
        ),
    ],
)
def test_a_prompt_is_known_by_its_text(prompt: str, line: dict[str, Any]) -> None:
    claude = Claude()
    claude.typer.others_type = True
    _types(claude, prompt)
    claude.writes(_line("something else that a person typed", "l0"), 1.3)
    claude.writes(_line("no prompt", "l9", source="system"), 1.3)
    assert not claude.told
    claude.writes(line, 1.4)
    assert claude.told == [("u1", "started")]


def test_where_nobody_else_types_a_prompt_may_become_something_else() -> None:
    claude = Claude()
    _types(claude, "/project/picture.png")
    claude.writes(_line("[Image #1]"), 1.4)
    assert claude.told == [("u1", "started")]


def test_a_copy_of_an_older_line_is_no_prompt() -> None:
    claude = Claude()
    claude.writes(_line("Go", "old"), 0.5)
    _types(claude, "Go")
    claude.writes(_line("Go", "old"), 1.3)
    assert not claude.told
    claude.writes(_line("Go", "new"), 1.4)
    assert claude.told == [("u1", "started")]


def test_a_prompt_without_a_line_is_taken_back_before_it_counts_as_refused() -> None:
    claude = Claude()
    _types(claude, "Go")
    for n in range(2, 60):
        claude.act(_idle(), float(n))
    assert not claude.told
    claude.pressed()
    claude.act(_idle(), 61.0)
    assert claude.pressed() == CTRL_C
    claude.act(_idle(), 63.0)
    assert not claude.told  # Claude has not taken notice yet
    claude.shown = 63.5
    claude.act(_idle(), 64.0)
    assert not claude.told
    claude.act(_idle(), 64.6)
    assert claude.told == [("u1", "refused")]
    assert not claude.typer.has_typed


def test_the_late_line_of_a_claude_that_stood_still_withdraws_the_refusal() -> None:
    claude = Claude()
    claude.puts("Go")
    for n in range(1, 100):
        claude.act(_idle(), float(n))
    assert claude.pressed() == paste_keys("Go") + CTRL_C
    assert claude.told == [("u1", "refused")]
    claude.writes(_line("Go"), 101.0)
    assert claude.told == [("u1", "refused"), ("u1", "started")]
    claude.writes(_line("Go"), 102.0)
    assert len(claude.told) == 2


def test_a_line_that_comes_while_the_prompt_is_taken_back_counts() -> None:
    claude = Claude()
    _types(claude, "Go")
    claude.act(_idle(), 61.0)
    claude.writes(_line("Go"), 61.5)
    claude.shown = 61.5
    for n in range(62, 90):
        claude.act(_idle(4.0), float(n))
    assert claude.told == [("u1", "started")]


def test_without_a_limit_a_prompt_waits() -> None:
    claude = Claude(limit=None)
    _types(claude, "Go")
    for n in range(2, 2000):
        claude.act(_idle(), float(n))
    assert not claude.told


def test_what_claude_does_not_know_is_refused_at_once_in_its_own_words() -> None:
    claude = Claude()
    _types(claude, "/deploy now")
    claude.writes(
        {
            "type": "system",
            "subtype": "informational",
            "uuid": "l1",
            "content": "Unknown command: /deploy",
        },
        1.4,
    )
    (note,) = claude.typer.notes
    assert (note["state"], note["reason"]) == ("refused", "Unknown command: /deploy")
    assert not claude.typer.has_typed


def test_a_command_that_opens_a_dialog_leaves_no_line() -> None:
    claude = Claude()
    _types(claude, "/config")
    claude.act(_waiting(), 1.4)
    assert claude.told == [("u1", "started")]


def test_a_prompt_that_is_interrupted_before_it_arrived_is_taken_back() -> None:
    claude = Claude()
    _types(claude, "Go")
    claude.hears(INTERRUPT)
    claude.act(_idle(), 1.4)
    assert claude.pressed() == CTRL_C
    claude.shown = 1.5
    claude.act(_idle(), 3.0)
    assert claude.told == [("u1", "cancelled")]
    claude.puts("Next", "u2")
    claude.act(_idle(), 3.1)
    assert claude.pressed() == paste_keys("Next")


def test_a_question_of_the_first_start_is_told_once_and_not_waited_for_for_ever() -> None:
    claude = Claude()
    claude.puts("Go")
    for n in range(1, 60):
        claude.act(ClaudeStatus(), float(n))
    assert claude.pressed() == b""
    (note,) = claude.typer.notes
    assert (note["subtype"], note["state"]) == ("host_state", "waiting")
    assert "claude-mpm attach s1" in note["message"]
    claude.act(ClaudeStatus(), 61.0)
    assert claude.told == [("u1", "refused")]


def test_a_question_of_the_first_start_that_a_person_answers() -> None:
    claude = Claude()
    claude.puts("Go")
    claude.act(ClaudeStatus(), 1.0)
    claude.act(_idle(), 50.0)
    assert claude.pressed() == paste_keys("Go")
    claude.act(_idle(), 62.0)
    assert not claude.told


def test_a_turn_that_ends_before_claude_says_that_it_works() -> None:
    claude = Claude()
    _types(claude, "One")
    claude.puts("Two", "u2")
    claude.writes(_line("One"), 1.3)
    assert claude.told == [("u1", "started")]
    claude.act(_idle(), 1.4)  # that may be from before
    assert claude.pressed() == b""
    claude.act(_idle(), 3.0)
    assert _pasted(claude.pressed()) == "Two"


def test_an_interrupt_is_escape_and_what_claude_gives_back_to_be_edited_is_cleared() -> None:
    claude = Claude()
    claude.act(_busy(), 0.0)
    claude.hears(INTERRUPT)
    claude.act(_busy(), 1.0)
    claude.act(_busy(), 1.1)
    assert claude.pressed() == ESCAPE
    claude.act(_idle(3.0), 1.2)
    assert claude.pressed() == CTRL_C


def test_an_interrupt_waits_for_a_claude_that_says_late_that_it_works() -> None:
    claude = Claude()
    _types(claude, "Go")
    claude.writes(_line("Go"), 1.3)
    claude.hears(INTERRUPT)
    for n in range(2, 20):
        claude.act(_idle(), float(n))  # from before the prompt
    assert claude.pressed() == b""
    claude.act(_busy(), 20.0)
    assert claude.pressed() == ESCAPE


def test_an_interrupt_does_not_wait_for_ever_for_a_claude_that_says_nothing_new() -> None:
    claude = Claude()
    _types(claude, "Go")
    claude.writes(_line("Go"), 1.3)
    claude.hears(INTERRUPT)
    claude.puts("Next", "u2")
    claude.act(_idle(), 31.0)
    assert claude.pressed() == b""
    claude.act(_idle(), 32.0)
    claude.act(_idle(), 33.0)
    assert _pasted(claude.pressed()) == "Next"


def test_an_interrupt_of_an_idle_claude_presses_nothing() -> None:
    claude = Claude()
    claude.hears(INTERRUPT)
    claude.act(_idle(), 1.0)
    assert claude.pressed() == b""


@pytest.mark.parametrize("line_at", [1.5, 4.0])
def test_a_prompt_that_claude_had_when_it_was_taken_back_is_not_left_in_the_input_line(
    line_at: float,
) -> None:
    """Its line comes before or after it counts as cancelled; the next prompt stays alone."""
    claude = Claude()
    _types(claude, "One")
    claude.hears(INTERRUPT)
    claude.act(_idle(), 1.4)
    assert claude.pressed() == CTRL_C  # which ends its turn, and Claude gives it back
    claude.shown = 1.45
    if line_at > 3.0:
        claude.act(_idle(), 3.0)
        assert claude.told == [("u1", "cancelled")]
    claude.writes(_line("One"), line_at)
    assert claude.told[-1] == ("u1", "started")
    claude.puts("Two", "u2")
    claude.act(_idle(2.0), line_at + 0.1)
    early = claude.pressed()
    assert early == (CTRL_C if line_at > 3.0 else b""), "two at once end Claude"
    claude.act(_idle(2.0), line_at + 2.0)
    assert early or claude.pressed() == CTRL_C
    claude.act(_idle(2.0), line_at + 2.1)
    assert _pasted(claude.pressed()) == "Two"


def test_a_refused_prompt_that_claude_had_all_the_same_is_not_left_in_the_input_line() -> None:
    claude = Claude(limit=10.0)
    _types(claude, "One")
    claude.act(_idle(), 12.0)
    assert claude.pressed() == CTRL_C
    claude.act(_idle(), 23.0)
    assert claude.told == [("u1", "refused")]
    claude.writes(_line("One"), 24.0)
    claude.act(_busy(), 24.1)
    assert claude.pressed() == ESCAPE
    claude.act(_idle(25.0), 25.1)
    assert claude.pressed() == CTRL_C


def test_prompts_that_were_not_typed_yet_are_cancelled_with_the_interrupt_of_a_stop() -> None:
    claude = Claude()
    claude.puts("Never")
    claude.hears(
        {"type": "control_request", "request": {**INTERRUPT["request"], "cancel_queued": True}}
    )
    claude.act(_idle(), 1.0)
    assert claude.told == [("u1", "cancelled")]
    assert claude.pressed() == b""


def test_the_end_waits_for_the_prompts_before_it_and_for_the_turn() -> None:
    claude = Claude()
    claude.puts("Go")
    claude.typer.receive("EOF", b"")
    claude.act(_idle(), 1.0)
    assert _pasted(claude.pressed()) == "Go"
    claude.writes(_line("Go"), 1.1)
    claude.act(_busy(), 9.0)
    assert claude.pressed() == b""
    claude.act(_idle(4.0), 10.0)
    assert claude.pressed() == CTRL_C * 2
    assert not claude.typer.gives_up


def test_the_end_of_a_turn_shorter_than_two_reports_leaves_nothing_to_interrupt() -> None:
    claude = Claude()
    _types(claude, "Go")
    claude.writes(_line("Go"), 1.3)
    claude.writes({"type": "system", "subtype": "turn_duration", "uuid": "l2"}, 1.4)
    claude.hears(INTERRUPT)
    claude.act(_idle(), 1.5)  # as before the prompt
    assert claude.pressed() == b""
    claude.puts("Then", "u2")
    claude.act(_idle(), 1.6)
    assert _pasted(claude.pressed()) == "Then"


def test_a_stop_does_not_wait_for_a_status_that_claude_may_never_report() -> None:
    claude = Claude()
    _types(claude, "/cost")
    claude.writes(_line("/cost"), 1.3)
    claude.hears(INTERRUPT)
    claude.typer.receive("EOF", b"")
    claude.act(_idle(), 2.4)
    claude.act(_idle(), 2.5)
    assert claude.pressed() == CTRL_C * 2


def test_a_dialog_that_nobody_will_answer_is_closed_before_the_end() -> None:
    claude = Claude()
    claude.typer.receive("EOF", b"")
    claude.act(_waiting(), 1.0)
    assert claude.pressed() == ESCAPE
    for n in range(3, 10):
        claude.act(_waiting(), float(n))
    assert claude.typer.gives_up


def test_a_program_that_is_not_claude_gets_what_was_put() -> None:
    program = Claude(is_claude=False)
    program.typer.receive("000001", b"some line\n")
    program.typer.receive("EOF", b"")
    program.act(ClaudeStatus(), 1.0)
    assert program.pressed() == b"some line\n\x04"
