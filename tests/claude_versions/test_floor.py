"""What is too old is refused at its start: at once, in one line, and with nothing left behind."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from builds import make_build

from claude_mpm import create_orchestrator
from claude_mpm.errors import ClaudeTooOld
from command import Command

if TYPE_CHECKING:
    from claude_mpm.testing import ScriptedModel


@pytest.fixture
def command(model: ScriptedModel, tmp_path: Path) -> Command:
    """The command, without a Claude of its own."""
    return Command(model, tmp_path / "command-home", "/nowhere/claude")


STUB = Path(__file__).parents[2] / "guide" / "stub_claude.py"
OLD = ["2.0.45 (Claude Code)", "2.1.139 (Claude Code)", "2.1.210 (Claude Code)"]


@pytest.mark.parametrize("version", OLD)
def test_the_command_refuses_it_with_status_3(
    version: str, command: Command, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    claude = str(make_build(tmp_path / "b", version, STAND_IN_LOG=str(started)))
    for words in (
        ["run", "hello"],
        ["run", "--detach", "hello"],
        ["--orchestrator", "terminal", "run", "x"],
    ):
        done = command(*words, status=3, CLAUDE_PATH=claude)
        (line,) = done.stderr.splitlines()
        assert line.startswith(
            f"claude-mpm: Claude Code {version.split()[0]} ({claude}) is too old"
        )
        assert done.stdout == ""
    assert not started.exists(), "it is asked for its version, and refused at once"
    assert not (command.state / "sessions").exists() or not command.sessions()


def test_a_session_is_not_resumed_with_it(
    command: Command, claude_path: str, tmp_path: Path
) -> None:
    claude = tmp_path / "claude"
    claude.symlink_to(claude_path)
    command("run", "--session", "kept", "hello", CLAUDE_PATH=str(claude))
    before = {path: path.read_bytes() for path in command.session().path.glob("*.json")}
    claude.unlink()
    claude.symlink_to(make_build(tmp_path / "b", OLD[1]))
    command("resume", "kept", "more", status=3)
    after = {path: path.read_bytes() for path in command.session().path.glob("*.json")}
    assert after == before
    claude.unlink()
    claude.symlink_to(claude_path)
    assert "Claude heard: more" in command("resume", "kept", "more").stdout


def test_a_build_that_lies_is_found_when_it_answers(model: ScriptedModel, tmp_path: Path) -> None:
    """It says that it is new, and does not answer as a new one does: so it is probed."""
    lies = {"STAND_IN_VERSION": "", "STAND_IN_MUTE": "1"}
    claude = str(make_build(tmp_path / "b", "2.1.332 (Claude Code)", **lies))
    environ, state = model.environment(tmp_path / "h"), str(tmp_path / "state")
    made = create_orchestrator("local", claude_path=claude, environ=environ, state_dir=state)
    for _ in range(2):  # the second time it is known before it is started
        assert not made.start()
        assert isinstance(made.error, ClaudeTooOld)
        assert "2.1.332" in str(made.error)
        assert "does not acknowledge prompts" in str(made.error)
    made.stop()


def test_a_program_that_stands_in_for_claude_and_says_little_is_no_old_build(
    model: ScriptedModel, tmp_path: Path
) -> None:
    """As the stubs of those who write an orchestrator: no version, no acknowledgement."""
    stub = tmp_path / "stub"
    stub.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{STUB}" "$@"\n')
    stub.chmod(0o755)
    environ, state = model.environment(tmp_path / "h"), str(tmp_path / "state")
    with create_orchestrator(
        "local", claude_path=str(stub), environ=environ, state_dir=state
    ) as claude:
        assert claude.ask("hello").check().text == "Claude heard: hello"


def test_doctor_says_that_it_is_refused(command: Command, tmp_path: Path) -> None:
    claude = make_build(tmp_path / "b", OLD[1], STAND_IN_MUTE="1")
    done = command("doctor", "--claude", str(claude), status=3)
    assert "refused" in done.stdout
    assert "no   2.1.211  it acknowledges each prompt" in done.stdout
