"""What Claude, a tool, a project or a file says is text on a terminal, and never steers it."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls import agent_call, agent_result, call, make_session, said
from claude_mpm.cli.export import render
from claude_mpm.journal.inbox import Inbox
from claude_mpm.printable import LineFormatter, exact, one_line, printable, printable_json
from claude_mpm.records import Ticket
from claude_mpm.testing import Call
from claude_mpm.wire import StreamJson
from command import PROGRAM, Command
from terminal import Terminal

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.testing import ScriptedModel

# Sets the title, writes to the clipboard, wipes the screen, prints over, turns the writing, hides.
STEERS = (
    "\x1b]0;owned\x07\x1b]52;c;b3duZWQ=\x1b\\\x1b[2J\x1b[31m\x9b2J\x08\x08\x7f\rover\x00\x0b"
    "\u202eabc\u202c\u2066\u2069\u200e\u200f\u061c\u200b\u200d\u2060\ufeff\u2028\u2029\xad"
)
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)


def steering(shown: str) -> list[str]:
    """Return what steers a terminal in what it was sent, but for line ends and colours of ours."""
    return FORBIDDEN.findall(re.sub(r"\x1b\[[0-9;]*m", "", shown.replace("\r\n", "\n")))


@pytest.fixture
def session(home: Path, monkeypatch: pytest.MonkeyPatch) -> SessionFolder:
    """A session that has ended, of which every text steers a terminal."""
    monkeypatch.setenv("CLAUDE_MPM_STATE_DIR", str(home / "state"))
    result = {
        "type": "result", "subtype": f"error{STEERS}", "is_error": True, "result": STEERS,
        "session_id": "s1", "total_cost_usd": 0.0, "duration_ms": 1, "num_turns": 1,
        "errors": [STEERS], "user_message_uuid": "u1",
    }  # fmt: skip
    denied = {
        "type": "system", "subtype": "permission_denied", "tool_name": f"T{STEERS}",
        "message": STEERS,
    }  # fmt: skip
    folder = make_session(
        "s1",
        [
            f"Hello {STEERS}\nTODO: mend {STEERS}\n  more {STEERS}",
            agent_call("t1", f"agent{STEERS}", f"task {STEERS}"),
            agent_result("t1", STEERS),
            {
                "type": "assistant",
                "message": {
                    "content": [
                        {"type": "tool_use", "id": "t2", "name": f"Ba{STEERS}sh",
                         "input": {"command": STEERS}}
                    ]
                },
            },
            denied,
            said(f"\x1b Delegating to {STEERS}: do {STEERS}"),
            result,
        ],
        cwd=f"/project/{STEERS.replace(chr(0), '')}",
    )  # fmt: skip
    meta = folder.read_meta()
    meta.options = {"model": STEERS}
    folder.write_meta(meta)
    folder.errors.path.write_text(f"claude: {STEERS}")
    Inbox(folder).put(StreamJson().prompt(f"prompt {STEERS}", "u1"))
    return folder


COMMANDS = [
    ["ps", "--all"],
    ["ps", "--all", "--json"],
    ["show", "s1"],
    ["show", "s1", "--json"],
    ["logs", "s1"],
    ["logs", "s1", "--events"],
    ["logs", "s1", "--json"],
    ["attach", "s1"],
    ["attach", "s1", "--json"],
    ["wait", "s1"],
    ["tickets"],
    ["tickets", "--json"],
    ["tickets", "export"],
    ["tickets", "export", "--format", "csv"],
    ["tickets", "export", "--format", "markdown"],
    ["tickets", "export", "--format", "json"],
    ["tickets", "show", "--session", "s1", STEERS],
    ["tickets", "scan", "hostile.txt"],
    ["tickets", "scan", "hostile.txt", "--json"],
    ["tickets", "scan", f"{STEERS.replace(chr(0), '')}"],
    ["delegations"],
    ["delegations", "--json"],
    ["delegations", "export", "--format", "csv"],
    ["questions", "s1"],
    ["questions", "--answered"],
    ["answer", "s1", STEERS.replace("\0", ""), "allow"],
    ["stop", "s1"],
    ["resume", STEERS.replace("\0", "")],
    ["show", STEERS.replace("\0", "")],
    [STEERS.replace("\0", "")],
    ["run", "--model", "x", "--framework", STEERS.replace("\0", ""), "hi"],
    ["doctor"],
    ["trust", "--list"],
    ["orchestrators"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:4])[:30])
def test_no_command_lets_a_session_steer_the_terminal(
    words: list[str], session: SessionFolder, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("hostile.txt").write_text(f"TODO: mend {STEERS}\nBUG: {STEERS}\n", "utf-8", newline="")
    named = json.dumps(STEERS.replace("\0", ""))
    Path(".claude-mpm.toml").write_text(f"framework = {named}\n")
    environ = {
        "PATH": "/usr/bin:/bin", "HOME": str(home), "CLAUDE_MPM_STATE_DIR": str(home / "state"),
        "LC_ALL": "C.UTF-8",
    }  # fmt: skip
    words = [word.replace("\0", "") for word in words]
    with Terminal([str(PROGRAM), *words], environ) as terminal:
        terminal.wait()
    assert terminal.shown.strip() or words[0] in ("wait", "trust")
    assert steering(terminal.shown) == []
    assert "Traceback" not in terminal.shown


def test_a_turn_does_not_steer_the_terminal_and_is_untouched_in_a_pipe(
    command: Command, model: ScriptedModel
) -> None:
    text = f"hello {STEERS} end"
    model.on("Go", text, Call("Bash", command=f"true # {STEERS}"), "end")
    words = [str(PROGRAM), "run", "Go"]
    with Terminal(words, command.environ) as terminal:
        terminal.wait()
    assert steering(terminal.shown) == []
    assert "\\x1b]0;owned\\x07" in terminal.shown
    assert "<U+202E>" in terminal.shown
    model.on("Again", text)
    piped = subprocess.run(
        [PROGRAM, "run", "Again"], env=command.environ, capture_output=True, check=True
    )
    assert piped.stdout == f"{text}\n".encode()


def test_a_setting_with_a_nul_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path(".claude-mpm.toml").write_text('framework = "a\\u0000b"\n')
    ended = call(capsys, "ps")
    assert (ended.status, ended.err.count("\n")) == (4, 1)
    assert "a NUL character" in ended.err


def test_an_error_is_one_line_that_steers_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["show", f"no{STEERS}"],
        [f"no\n{STEERS}"],
        ["run", "--orchestrator", STEERS, "x"],
    ):
        ended = call(capsys, *words)
        assert ended.status != 0
        assert ended.err.count("\n") == 1
        assert steering(ended.err) == []


def test_exports_have_no_control_characters_and_no_formulas(
    session: SessionFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    for form in ("csv", "markdown", "table"):
        out = call(capsys, "tickets", "export", "--format", form).out
        breaks = "\r" if form == "csv" else ""  # a line break within a cell is data
        assert steering(out.replace(breaks, "") if breaks else out) == []
        assert "\\x1b]0;owned" in out.replace("\\\\", "\\")


@pytest.mark.parametrize(
    "title", ["=1+1", "＝1+1", "＋1", "＠x", " =1+1", "\u3000-1", "﹦1", "\t=1"]
)
def test_no_cell_of_an_export_is_a_formula(title: str) -> None:
    ticket = Ticket(key="k", session="s", type="task", title=title)
    (row,) = csv.DictReader(io.StringIO(render([ticket], (), "csv"), newline=""))
    assert row["title"] == f"'{title}"


@given(st.text(st.characters()))
def test_whatever_is_said_is_shown(text: str) -> None:
    for shown in (printable(text), one_line(text), exact(text)):
        assert FORBIDDEN.search(shown) is None
        shown.encode()
    assert json.loads(printable_json(json.dumps(text, ensure_ascii=False))) == text
    assert FORBIDDEN.search(printable_json(json.dumps(text, ensure_ascii=False))) is None


@pytest.mark.parametrize(
    "text", ["Grüße, 日本語\n\tprüfen ✓", "हिन्दी में", "ภาษาไทย", "👍🏽 ⚠️", "a\u0301"]
)
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\rb", "a\\x0db"),
        ("\x9b", "\\x9b"),
        ("\u202e", "<U+202E>"),
        ("\U000e0041", "<U+E0041>"),
        ("\ud800", "<U+D800>"),
    ],
)
def test_what_steers_is_shown_by_its_number(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb", "a\\tb"),
        ("a\xa0b", "a<U+00A0>b"),
        ("rm\u0336", "rm<U+0336>"),
        ("e\u0301\u0302\u0303", "e\u0301\u0302<U+0303>"),
        ("-\u0301", "-<U+0301>"),
        ("\u2800", "<U+2800>"),
        ("é", "é"),
        ("हिन्दी", "हिन्दी"),
    ],
)
def test_where_each_character_counts_each_is_seen(text: str, shown: str) -> None:
    assert exact(text) == shown


def test_logs_do_not_steer_the_terminal() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, f"a {STEERS}", (), None)
    assert steering(LineFormatter("%(message)s").format(record)) == []
