"""`claude-mpm doctor`: what is wrong, and the command that mends it."""

from __future__ import annotations

import os
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from calls import call, make_session
from claude_mpm.config.settings import describe
from claude_mpm.sessions.store import Store

if TYPE_CHECKING:
    from calls import Ended

    Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def claude(stand_in: Path) -> Path:
    """A `claude` that tells a version."""
    stand_in.write_text("#!/bin/sh\necho '2.1.332 (Claude Code)'\n")
    return stand_in


def check(ended: Ended, name: str) -> dict[str, Any]:
    checks: list[dict[str, Any]] = [each for each in ended.json["checks"] if each["name"] == name]
    return checks[-1]


def assert_problem(ended: Ended, name: str, found: str, remedy: str) -> None:
    assert ended.status == 1
    known = check(ended, name)
    assert known["status"] == "problem"
    assert found in known["found"]
    assert remedy in known["remedy"]


def test_where_all_is_well_it_says_so_and_leaves_nothing(capsys: Capture, claude: Path) -> None:
    ended = call(capsys, "doctor")
    assert (ended.status, ended.err) == (0, "")
    assert f"2.1.332 (Claude Code), {claude} (on PATH)" in ended.out
    assert "problem" not in ended.out
    assert not Store().path.exists()


def test_every_setting_is_shown_with_where_it_came_from(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(".claude-mpm.toml").write_text("max_turns = 3\n")
    monkeypatch.setenv("CLAUDE_MPM_LINGER", "5")
    ended = call(capsys, "doctor", "--json", "--model", "opus")
    rows = {row["setting"]: (row["value"], row["from"]) for row in ended.json["settings"]}
    assert set(rows) == {setting.key for setting in describe()}
    assert rows["model"] == ("opus", "flag")
    assert rows["linger"] == (5.0, "environment CLAUDE_MPM_LINGER")
    assert rows["max_turns"] == (3, str(Path(".claude-mpm.toml").absolute()))
    assert rows["timeout"] == (None, "default")


def test_a_typo_in_the_settings_does_not_hide_the_rest(capsys: Capture) -> None:
    Path(".claude-mpm.toml").write_text("modle = 3\n")
    ended = call(capsys, "doctor", "--json")
    assert_problem(ended, "settings", "did you mean `model`", "${EDITOR:-vi} /")
    assert check(ended, "claude")["status"] == "ok"


def test_a_variable_with_a_typo_is_to_be_unset(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_MPM_MODLE", "opus")
    ended = call(capsys, "doctor", "--json")
    assert_problem(ended, "settings", "CLAUDE_MPM_MODEL", "unset CLAUDE_MPM_MODLE")


def test_another_program_of_the_same_name_in_this_environment(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    info = tmp_path / "site" / "claude_mpm-9.1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: claude-mpm\nVersion: 9.1.2\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    known = check(call(capsys, "doctor", "--json"), "package")
    assert known["status"] == "note"
    assert f"9.1.2 in {tmp_path / 'site'}" in known["found"]
    assert "pip uninstall claude-mpm" in known["remedy"]


@pytest.mark.parametrize(
    ("first", "status"),
    [
        ("#!/opt/tools/other/bin/python3", "note"),
        (f"#!{sys.prefix}/bin/python", "ok"),
        ("#!/usr/bin/env bash", "ok"),
        ("\x7fELF", "ok"),
    ],
)
def test_another_program_of_the_same_name_on_the_path(
    capsys: Capture, claude: Path, first: str, status: str
) -> None:
    command = claude.with_name("claude-mpm")
    command.write_text(f"{first}\nexit 1\n")
    command.chmod(0o755)
    known = check(call(capsys, "doctor", "--json"), "package")
    assert known["status"] == status
    assert ("/opt/tools/other" in known["found"]) == (status == "note")
    assert known["remedy"].startswith("/opt/tools/other/bin/python3" if status == "note" else "")


def test_a_claude_path_that_leads_nowhere(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAUDE_PATH", "/no/such/claude")
    assert_problem(call(capsys, "doctor", "--json"), "claude", "/no/such", "unset CLAUDE_PATH")


def test_no_claude_at_all(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, claude: Path, tmp_path: Path
) -> None:
    claude.unlink()
    monkeypatch.setattr("claude_mpm.claude_binary.in_wheel", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    ended = call(capsys, "doctor", "--json")
    assert_problem(ended, "claude", "no `claude`", "pip install claude-agent-sdk")
    assert_problem(ended, "programs", "sh, mkfifo, cat", "export PATH=")


@pytest.mark.parametrize(
    ("script", "found", "remedy"),
    [
        ("#!/bin/sh\nexit 4\n", "ended with status 4", "{claude} --version"),
        ("#!/no/such/shell\n", "a script for /no/such/shell, and there is no such file", ""),
        (
            "#!/bin/sh\nread -r line </dev/null; exec cat {fifo}\n",
            "did not tell its version",
            "{claude} --version",
        ),
    ],
)
def test_a_claude_that_does_not_run(
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    claude: Path,
    tmp_path: Path,
    script: str,
    found: str,
    remedy: str,
) -> None:
    os.mkfifo(tmp_path / "fifo")
    if "fifo" in script:  # it never answers; to the others the time that they need is given
        monkeypatch.setattr("claude_mpm.cli.doctor_checks._VERSION_TIMEOUT", 0.3)
    claude.write_text(script.format(fifo=tmp_path / "fifo"))
    assert_problem(call(capsys, "doctor", "--json"), "claude", found, remedy.format(claude=claude))


def test_a_state_folder_below_a_file(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CLAUDE_MPM_STATE_DIR", str(tmp_path / "file" / "state"))
    ended = call(capsys, "doctor", "--json")
    assert_problem(ended, "state folder", "Not a directory", "export CLAUDE_MPM_STATE_DIR=")


def test_a_disk_with_little_space(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("claude_mpm.cli.doctor_checks._NEEDED_SPACE", 1 << 60)
    assert_problem(call(capsys, "doctor", "--json"), "state folder", "MB free", "df -h ")


@pytest.mark.parametrize("damage", ["not a database", "other schema"])
def test_a_damaged_index_is_built_anew(capsys: Capture, damage: str) -> None:
    make_session("mine", ["TODO: one"])
    assert call(capsys, "tickets").rows
    index = Store().path / "index.sqlite"
    if damage == "other schema":
        with sqlite3.connect(index) as database:
            database.execute("PRAGMA user_version = 99")
        database.close()
    else:
        index.write_bytes(b"no database at all" * 1000)
    ended = call(capsys, "doctor", "--json")
    assert_problem(ended, "index", str(index), "claude-mpm doctor --rebuild-index")
    assert call(capsys, "doctor", "--rebuild-index").status == 0
    assert call(capsys, "doctor", "--json").status == 0
    assert [row[4] for row in call(capsys, "tickets").rows] == ["one"]


def test_a_damaged_session_is_named(capsys: Capture) -> None:
    folder = make_session("mine", [])
    folder.meta_file.write_text("{")
    assert_problem(call(capsys, "doctor", "--json"), "sessions", str(folder.path), "mv ")
    ended = call(capsys, "doctor", "--rebuild-index")
    assert ended.status == 0
    assert "session mine is left out" in ended.err


def test_a_broken_framework(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "RULES.md").touch()
    ended = call(capsys, "doctor", "--json", "--framework", tmp_path / "RULES.md")
    assert_problem(ended, "framework", "empty", f"${{EDITOR:-vi}} {tmp_path / 'RULES.md'}")


def test_a_plugin_and_an_orchestrator_that_are_not_there(capsys: Capture) -> None:
    ended = call(capsys, "doctor", "--json", "--plugin", "no_such", "--orchestrator", "lokal")
    assert_problem(ended, "plugin", "No module named 'no_such'", f"{sys.executable} -P -c")
    assert_problem(ended, "orchestrators", "did you mean 'local'", "claude-mpm orchestrators")


def test_what_is_to_tell_somebody_is_looked_at_and_shows_no_secret(
    capsys: Capture, claude: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "notify  " not in call(capsys, "doctor", "--quiet").out
    monkeypatch.setenv("CLAUDE_MPM_NOTIFY", "sh -c true")
    monkeypatch.setenv("CLAUDE_MPM_NOTIFY_WEBHOOK", "https://hooks.example/T0/hidden-word")
    ended = call(capsys, "doctor", "--json")
    assert check(ended, "notify")["found"] == "sh, a webhook, not signed"
    assert "hidden-word" not in ended.out + ended.err
    secret = tmp_path / "secret"
    secret.touch(0o644)
    monkeypatch.setenv("CLAUDE_MPM_NOTIFY_SECRET_FILE", str(secret))
    assert_problem(call(capsys, "doctor", "--json"), "notify", str(secret), "settings.toml")
    secret.chmod(0o600)
    monkeypatch.setenv("CLAUDE_MPM_NOTIFY", "no-such-command-here")
    ended = call(capsys, "doctor", "--json")
    assert_problem(ended, "notify", "there is no command no-such-command-here", "settings.toml")


def test_without_inotify_it_goes_on_by_looking(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from claude_mpm.journal.folder_watch import Subscription

    monkeypatch.setattr("claude_mpm.journal.folder_watch.subscribe", lambda folder: Subscription())
    ended = call(capsys, "doctor", "--json")
    assert (ended.status, check(ended, "watching")["status"]) == (0, "note")
    assert "sysctl" in check(ended, "watching")["remedy"]


@pytest.mark.parametrize(
    ("version", "status", "words", "remedy"),
    [
        ("2.1.210", "problem", "is too old: needed is 2.1.211", "claude update"),
        ("2.1.257", "note", "does not number its results", "claude update"),
        ("99.0.0", "note", "tried is up to", "claude-mpm doctor --claude"),
        ("none", "note", "tried is up to", "claude-mpm doctor --claude"),
    ],
)
def test_a_build_that_is_too_old_or_not_tried_is_named(
    capsys: Capture, claude: Path, version: str, status: str, words: str, remedy: str
) -> None:
    claude.write_text(f"#!/bin/sh\necho '{version}'\n")
    found = check(call(capsys, "doctor", "--json"), "claude")
    assert found["status"] == status
    assert words in found["found"]
    assert found["remedy"].startswith(remedy)
