"""`claude-mpm completion`, and what the shells are then told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from calls import call

if TYPE_CHECKING:
    Capture = pytest.CaptureFixture[str]

COMMAND = Path(sys.executable).parent / "claude-mpm"


@pytest.mark.parametrize(
    ("shell", "begin"), [("bash", "_claude_mpm_"), ("zsh", "#compdef"), ("fish", "function")]
)
def test_the_script_begins_as_the_shell_wants_it(capsys: Capture, shell: str, begin: str) -> None:
    ended = call(capsys, "completion", shell)
    assert ended.out.startswith(begin)
    assert f"# To keep it: claude-mpm completion {shell} > " in ended.out
    assert (ended.status, ended.err) == (0, "")


def test_the_shell_is_that_of_the_person(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/zsh")
    assert call(capsys, "completion").out.startswith("#compdef")
    monkeypatch.setenv("SHELL", "/bin/dash")
    ended = call(capsys, "completion")
    assert ended.status == 2
    assert "bash|zsh|fish" in ended.err


def test_bash_takes_the_script(capsys: Capture) -> None:
    script = call(capsys, "completion", "bash").out
    ended = subprocess.run(["bash", "-n"], input=script.encode(), capture_output=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("claude-mpm del", {"delegations"}),
        (
            "claude-mpm tickets ",
            {"list", "show", "close", "reopen", "export", "scan", "push", "pull"},
        ),
        ("claude-mpm tickets export --format ", {"table", "json", "csv", "markdown"}),
    ],
)
def test_commands_and_values_are_offered(words: str, offered: set[str]) -> None:
    place = str(len(words.split(" ")) - 1)
    env = {"_CLAUDE_MPM_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": place}
    ended = subprocess.run(
        [COMMAND], env={**os.environ, **env}, capture_output=True, text=True, timeout=60
    )
    assert {line.partition(",")[2] for line in ended.stdout.splitlines()} == offered
