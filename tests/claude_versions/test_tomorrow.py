"""A build that nobody has tried works, says what it does not know, and hangs in nothing."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from builds import make_build

from claude_mpm import create_orchestrator
from claude_mpm.conversation.verdict import Outcome
from claude_mpm.testing.build_probe import probe_build
from command import SECONDS, Command

if TYPE_CHECKING:
    from claude_mpm.testing import ScriptedModel
    from conftest import MakeClaude

TOMORROW = Path(__file__).with_name("tomorrow.py")


def build(folder: Path, claude_path: str, changes: str) -> str:
    """Return a build of tomorrow."""
    claude = folder / f"claude-{changes.replace(',', '-')}"
    claude.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" "{TOMORROW}" "{claude_path}" "{changes}" "$@"\n'
    )
    claude.chmod(0o755)
    return str(claude)


@pytest.fixture
def command(model: ScriptedModel, tmp_path: Path, claude_path: str) -> Command:
    """The command with a build that writes what nobody knows."""
    claude = build(tmp_path, claude_path, "renamed,chatty,stateless")
    return Command(model, tmp_path / "home", claude)


def test_it_works_and_says_what_it_no_longer_does(command: Command) -> None:
    began = command("run", "--session", "kept", "hello")
    assert began.stdout == "Claude heard: hello\n"
    assert "Claude Code 99.0.0 does not say when it is idle" in began.stderr
    assert "no longer takes `--system-prompt-snapshot`" in began.stderr
    assert "Claude Code 99.0.0" not in command("resume", "kept", "more").stderr  # said once
    shown = command("show", "kept")
    assert "no longer takes" in shown.stdout
    assert command("ps").stdout.count("kept") == 1


def test_what_it_does_not_know_is_counted_and_never_fatal(command: Command) -> None:
    command("run", "--session", "kept", "hello")
    unknown = command.json("show", "kept")["unknown"]
    assert (
        unknown["weather"] == unknown["system/mood"] == unknown["control_request/fold_paper"] == 1
    )
    assert unknown["result/success.from_tomorrow"] == 1
    assert set(unknown) == {
        "weather", "system/mood", "control_request/fold_paper", "result/success.from_tomorrow"
    }  # fmt: skip
    shown = command("show", "kept").stdout
    assert "weather" in shown
    checks = command("doctor", "--json", status=None).stdout
    (found,) = (each for each in json.loads(checks)["checks"] if each["name"] == "unknown")
    assert "weather" in found["found"]


def test_idle_without_a_result_is_a_verdict(
    make_claude: MakeClaude, claude_path: str, tmp_path: Path
) -> None:
    claude = build(tmp_path, claude_path, "resultless")
    with make_claude(claude_path=claude, end_timeout=2.0) as made:
        verdict = made.ask("hello").wait(SECONDS).verdict
    assert verdict.outcome is Outcome.LOST
    assert "Claude is idle and has given no result" in str(verdict)


def test_doctor_starts_it_once_and_shows_what_it_can_do(command: Command) -> None:
    claude = command.environ["CLAUDE_PATH"]
    done = command("doctor", "--claude", claude)
    for words in (
        "99.0.0", "no   2.1.257  it takes `--system-prompt-snapshot off`",
        "it refuses --system-prompt-snapshot, and has --system-prompt-snapshots",
        "newer than", "weather", "lacks, other than", "export CLAUDE_PATH=",
    ):  # fmt: skip
        assert words in done.stdout, done.stdout
    record = json.loads(command("doctor", "--claude", claude, "--json").stdout)
    assert record["fit"]
    assert record["source"] == "probe"
    assert {each["name"]: each["does"] for each in record["can"]}["tells_state"] is False


def test_a_build_that_does_not_take_what_its_version_takes_is_probed(
    command: Command, claude_path: str, tmp_path: Path
) -> None:
    claude = build(tmp_path, claude_path, "renamed,is-2.1.332")
    command.environ["CLAUDE_PATH"] = claude
    command("run", "--session", "kept", "hello")  # a first start does not need the option
    failed = command("resume", "kept", "more", status=1)
    assert "unknown option '--system-prompt-snapshot'" in failed.stderr
    assert "start it again" in failed.stderr
    assert command("resume", "kept", "more").stdout == "Claude heard: more\n"


def test_a_request_that_nobody_knows_is_refused_so_that_it_waits_for_nobody(
    model: ScriptedModel, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    claude = make_build(tmp_path / "b", "2.1.332", STAND_IN_ASKS="1", STAND_IN_LOG=str(log))
    environ, state = model.environment(tmp_path / "h"), str(tmp_path / "state")
    with create_orchestrator(
        "local", claude_path=str(claude), environ=environ, state_dir=state
    ) as made:
        assert made.ask("hello", timeout=SECONDS).check().text == "Claude heard: hello"
    records = [json.loads(line) for line in log.read_text().splitlines()]
    (answer,) = [record["answer"] for record in records if "answer" in record]
    assert answer["response"]["request_id"] == "w1"
    assert answer["response"]["subtype"] == "error"
    assert "fold_paper" in answer["response"]["error"]


def test_a_probe_gives_up_in_time_and_ends_its_claude(tmp_path: Path) -> None:
    claude, noted = tmp_path / "claude", tmp_path / "pid"
    os.mkfifo(noted)
    claude.write_text(f'#!/bin/sh\nexec 3<>"{noted}"; echo $$ >&3; exec tail -f /dev/null\n')
    claude.chmod(0o700)
    reader = os.open(noted, os.O_RDONLY | os.O_NONBLOCK)
    found = probe_build(str(claude), longest=5.0)
    assert found.error == "its time was up"
    with pytest.raises(ProcessLookupError):
        os.kill(int(os.read(reader, 20)), 0)
    os.close(reader)
