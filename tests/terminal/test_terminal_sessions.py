"""A session on a terminal that nobody looks at: the engine drives it as it drives any other."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
from prompts_under_load import ask_all, busy_loops

from claude_mpm.conversation.verdict import Outcome
from claude_mpm.sessions.status import State, read_status
from claude_mpm.terminal.frames import DATA, FrameReader, Size, frame, resized_frame
from claude_mpm.testing import Call, Delegate, Fail, ScriptedModel, Stall, Usage
from command import wait_until_gone

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder

SECONDS = 60.0


@pytest.fixture
def open_terminal(make_claude: Any) -> Any:
    """Makes sessions on a terminal; its first-start questions are answered beforehand."""

    def open_terminal(**options: Any) -> Any:
        given = {"trust": True, "permission_mode": "default", "allowed_tools": ["Bash", "Agent"]}
        claude = make_claude("terminal", **{**given, **options})
        claude.start_or_raise()
        return claude

    return open_terminal


def _folder(claude: Any) -> SessionFolder:
    return claude.store.folder(claude.session_id)  # type: ignore[no-any-return]


def _written(home: Path) -> list[str]:
    """Return the lines of all transcripts that Claude wrote."""
    paths = sorted((home / "claude-home" / ".claude" / "projects").rglob("*.jsonl"))
    return [line for path in paths for line in path.read_text("utf-8").splitlines()]


def _copied(folder: SessionFolder) -> list[str]:
    """Return the lines of a journal that are Claude's."""
    own = ("command_lifecycle", "host_state")
    lines = folder.journal.path.read_text("utf-8").splitlines()
    return [line for line in lines if not any(f'"{each}"' in line[:60] for each in own)]


def test_a_turn_has_text_usage_tickets_and_delegations_from_the_transcript(
    open_terminal: Any, model: ScriptedModel, tmp_path: Path
) -> None:
    model.on(
        "Check",
        Usage(input_tokens=1000, output_tokens=50),
        Delegate(
            "general-purpose",
            "Look",
            does=[Stall(), "All green.\nBUG: A subagent's"],
            background=True,
        ),
        Usage(input_tokens=2000, output_tokens=60),
        "Launched.\nTODO: Announce it",
    )
    claude = open_terminal()
    turn = claude.ask("Check", timeout=SECONDS)
    for line in turn:
        if line == "Launched.":  # else Claude may hear of the end before it has said that
            model.wait_for_stall()
            model.release()
    assert turn.verdict.ok, turn.verdict
    assert turn.text == "Launched.\nTODO: Announce it\nThe background task has ended."
    assert {ticket.title for ticket in turn.tickets} == {"Announce it", "A subagent's"}
    (delegation,) = turn.delegations
    assert (delegation.state, delegation.background) == ("completed", True)
    assert turn.results[0].input_tokens >= 3000
    assert turn.results[-1].origin == "task-notification"
    claude.stop()
    # What it cost, Claude says at the end, for the whole conversation.
    assert claude.store.index.position(claude.session_id).cost_usd > 0
    assert sorted(_copied(_folder(claude))) == sorted(_written(tmp_path))


def test_a_prompt_of_many_lines_arrives_as_the_persons_own_words(
    open_terminal: Any, model: ScriptedModel
) -> None:
    prompt = "".join(f"{n}. Look at line {n}, «ü» and @nothing\n" for n in range(80)) + "Thanks!"
    turn = open_terminal().ask(prompt, timeout=SECONDS)
    assert turn.verdict.ok, turn.verdict
    assert model.requests[-1].prompt == prompt


def test_thirty_prompts_beside_four_busy_loops_are_answered_once(
    open_terminal: Any, model: ScriptedModel
) -> None:
    with busy_loops(4):
        count = ask_all(open_terminal(), model, 30)
    assert (count.answered, count.refused, count.heard) == (30, [], {})


def test_what_claude_does_not_know_is_refused_in_its_own_words(open_terminal: Any) -> None:
    verdict = open_terminal().ask("/no-such-command now", timeout=SECONDS).verdict
    assert verdict.outcome is Outcome.FAILED
    assert "Unknown command: /no-such-command" in verdict.reason


@pytest.mark.parametrize("prompt", ["ends in a \\", "@nothing\tand  blanks ", "word " * 9000])
def test_prompts_that_reach_the_transcript_changed_are_known(
    open_terminal: Any, prompt: str
) -> None:
    turn = open_terminal().ask(prompt, timeout=SECONDS)
    assert turn.verdict.ok, turn.verdict
    assert prompt.split()[-1] in turn.text


@pytest.mark.parametrize("way", ["link", "real/../real"])
def test_a_trusted_folder_may_be_reached_by_a_link_or_by_dots(
    open_terminal: Any, tmp_path: Path, way: str
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    claude = open_terminal(cwd=str(tmp_path / way))
    assert claude.ask("Hello", timeout=SECONDS).text == "Claude heard: Hello"


def test_a_prompt_at_a_question_of_the_first_start_is_told_once_and_refused(
    make_claude: Any, model: ScriptedModel, tmp_path: Path
) -> None:
    home = tmp_path / "claude-home"
    environ = model.environment(home)
    (home / ".claude").mkdir()
    (home / ".claude" / ".claude.json").write_text('{"hasCompletedOnboarding": true}')
    claude = make_claude("terminal", environ=environ, first_event_timeout=20.0)
    claude.start_or_raise()
    turn = claude.ask("Hello", timeout=SECONDS)
    told = [item for item in turn.stream() if getattr(item, "type", "") == "system/host_state"]
    (message,) = [event.data.message for event in told if event.data.message]
    assert f"claude-mpm attach {claude.session_id}" in message
    assert turn.verdict.outcome is Outcome.FAILED
    assert "question of its first start" in turn.verdict.reason
    assert not model.requests


def test_an_interrupted_turn_leaves_nothing_for_the_next_prompt(
    open_terminal: Any, model: ScriptedModel
) -> None:
    model.on("Early", Stall(), "never said")
    claude = open_terminal()
    turn = claude.ask("Early bird", timeout=SECONDS)
    model.wait_for_stall()
    turn.interrupt()
    assert turn.verdict.outcome is Outcome.INTERRUPTED
    assert claude.ask("Next", timeout=SECONDS).text == "Claude heard: Next"


def test_an_error_of_the_api_is_a_failed_turn(open_terminal: Any, model: ScriptedModel) -> None:
    model.on("Fail", Fail(400, message="not like this"))
    claude = open_terminal()
    verdict = claude.ask("Fail", timeout=SECONDS).verdict
    assert verdict.outcome is Outcome.FAILED
    assert "not like this" in verdict.reason
    assert claude.ask("Next", timeout=SECONDS).verdict.ok


def test_a_question_on_the_screen_is_seen_from_outside(
    open_terminal: Any, model: ScriptedModel
) -> None:
    model.on("Write", Call("Write", file_path="x.txt", content="x"), "never said")
    claude = open_terminal()
    turn = claude.ask("Write")
    folder = _folder(claude)

    def is_waiting() -> bool:
        return read_status(folder, claude.store.index).state is State.WAITING

    for _ in claude.events(follow=True):
        if is_waiting():
            break
    assert is_waiting()
    turn.interrupt()
    assert turn.verdict.outcome is Outcome.INTERRUPTED
    assert not Path("x.txt").exists()


def test_clear_begins_a_conversation_that_is_followed_and_resumed(
    open_terminal: Any, model: ScriptedModel, tmp_path: Path
) -> None:
    claude = open_terminal()
    claude.ask("I am called Ann", timeout=SECONDS).check()
    claude.ask("/clear", timeout=SECONDS).check()
    claude.ask("I am called Bob", timeout=SECONDS).check()
    claude.stop()
    again = open_terminal(session_id=claude.session_id, resume=True)
    assert again.ask("Who am I?", timeout=SECONDS).verdict.ok
    heard = model.requests[-1].text
    assert "Bob" in heard
    assert "Ann" not in heard
    again.stop()
    assert sorted(_copied(_folder(again))) == sorted(_written(tmp_path))


def test_kill_9_of_the_host_ends_claude_and_the_next_one_goes_on(
    open_terminal: Any, model: ScriptedModel, tmp_path: Path
) -> None:
    claude = open_terminal()
    claude.ask("Remember the word plum", timeout=SECONDS).check()
    folder = _folder(claude)
    screen = Path(folder.screen.read_text().strip())
    host, program = folder.pids()  # type: ignore[misc]
    os.kill(host, signal.SIGKILL)
    wait_until_gone([program])
    claude.stop()
    assert not screen.exists()
    again = open_terminal(session_id=claude.session_id, resume=True)
    assert again.ask("Which word?", timeout=SECONDS).verdict.ok
    assert "plum" in model.requests[-1].text
    again.stop()
    assert _copied(_folder(again)) == _written(tmp_path)


def test_a_start_that_fails_says_why(make_claude: Any) -> None:
    claude = make_claude("terminal", trust=True, claude_args=["--no-such-option"])
    assert not claude.start()
    assert "unknown option '--no-such-option'" in str(claude.error)
    assert "\n" not in str(claude.error)


def test_nothing_is_answered_in_claudes_configuration_without_being_asked(
    make_claude: Any, model: ScriptedModel, tmp_path: Path
) -> None:
    home = tmp_path / "claude-home"
    environ = model.environment(home)
    file = home / ".claude" / ".claude.json"
    file.parent.mkdir()
    # Onboarding asks the network first; what this is about comes behind it.
    file.write_text('{"hasCompletedOnboarding": true}')
    claude = make_claude("terminal", environ=environ)
    claude.start_or_raise()
    claude.stop()
    assert claude.process.poll() is not None
    assert 'hasTrustDialogAccepted": true' not in file.read_text()
    assert "approved" not in file.read_text()
    assert not model.requests


def test_the_answers_are_added_to_what_is_there(tmp_path: Path) -> None:
    from claude_mpm.terminal.claude_config import answer_first_questions

    environ = {"CLAUDE_CONFIG_DIR": str(tmp_path), "ANTHROPIC_API_KEY": "k" * 30 + "end"}
    file = tmp_path / ".claude.json"
    file.write_text('{"theme": "dark", "projects": {"/a": {"history": [1]}}}')
    answer_first_questions(environ, "/b")
    known = json.loads(file.read_text())
    assert known["theme"] == "dark"
    assert known["projects"] == {"/a": {"history": [1]}, "/b": {"hasTrustDialogAccepted": True}}
    assert known["customApiKeyResponses"]["approved"] == ["k" * 17 + "end"]
    before = file.stat().st_mtime_ns
    answer_first_questions(environ, "/b")
    assert file.stat().st_mtime_ns == before


class Screen:
    """A screen that speaks for itself."""

    def __init__(self, folder: SessionFolder, size: Size) -> None:
        self.shown = b""
        self._reader = FrameReader()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(SECONDS)
        self.socket.connect(folder.screen.read_text().strip())
        self.socket.sendall(resized_frame(size))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def type(self, text: str) -> None:
        self.socket.sendall(frame(DATA, text.encode()))

    def expect(self, text: str) -> None:
        while text.encode() not in self.shown:
            data = self.socket.recv(1 << 20)
            assert data, f"{text!r} is not shown: {self.shown[-500:]!r}"
            shown = b"".join(each.data for each in self._reader.feed(data))
            self.shown = self.shown[-500:] + shown


@pytest.fixture
def make_program(make_claude: Any) -> Any:
    """Makes sessions of a shell script on a terminal."""

    def make_program(script: str) -> Any:
        claude = make_claude(
            "terminal",
            wire="plain-text",
            claude_path="/bin/sh",
            claude_args=["-c", script],
            use_framework=False,
        )
        claude.start_or_raise()
        return claude

    return make_program


def test_screens_share_a_terminal_that_fits_on_each(make_program: Any) -> None:
    script = (
        "trap 'stty size' WINCH; stty -echo; stty size;"  # a screen may be there before the trap
        ' while :; do read -r line && echo "<$line>"; done'
    )
    folder = _folder(make_program(script))
    with Screen(folder, Size(50, 90)) as wide:
        wide.expect("50 90")
        with Screen(folder, Size(20, 200)) as flat:
            wide.expect("20 90")
            flat.type("hello\r")
            wide.expect("<hello>")
            flat.expect("<hello>")
        wide.shown = b""
        wide.expect("50 90")


def test_a_screen_that_does_not_read_holds_nobody_up(make_program: Any) -> None:
    script = "while read -r n; do head -c 1000000 /dev/zero | tr '\\0' x; echo \"END $n\"; done"
    folder = _folder(make_program(script))
    with Screen(folder, Size(24, 80)) as slow, Screen(folder, Size(24, 80)) as quick:
        for number in range(8):  # more than a screen may leave unread, but no more at once
            quick.type(f"{number}\r")
            quick.expect(f"END {number}")
        with pytest.raises(ConnectionError):  # it was released
            while True:
                slow.socket.sendall(frame(DATA, b"x"))


def test_garbage_from_a_screen_is_no_trouble(make_program: Any) -> None:
    folder = _folder(make_program('while read -r line; do echo "<$line>"; done'))
    with Screen(folder, Size(24, 80)) as strange:
        strange.socket.sendall(b"\xff" * 4096)
        assert strange.socket.recv(1 << 20) is not None
    with Screen(folder, Size(24, 80)) as screen:
        screen.type("still here\r")
        screen.expect("<still here>")
