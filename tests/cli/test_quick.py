"""`run` without click: what is read so is read as click reads it, and all else is left to click."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click
import platformdirs
import pytest

from claude_mpm.cli import run_command
from claude_mpm.cli.app import App
from claude_mpm.cli.commands import cli
from claude_mpm.cli.flags import SETTINGS
from claude_mpm.cli.quick import parse_run
from claude_mpm.folders import user_folder

if TYPE_CHECKING:
    from pathlib import Path

QUICK = [
    ["run", "hi"],
    ["run", "--quiet", "hi"],
    ["run", "hi", "--json", "--detach"],
    ["run", "-i", "two words", "--session", "name", "--as-command"],
    ["run", "--input", "", "--model", "opus", "--model", "haiku"],
    ["run", "--allowed-tools", "Bash(ls:*)", "--allowed-tools", "Read", "hi"],
    ["run", "--timeout", "60", "--max-turns", "3", "--max-budget-usd", "0.5", "hi"],
    ["run", "--timeout", "inf", "hi"],
    ["run", "--no-framework", "--no-tickets", "--cwd", "/tmp", "hi"],
    ["run", "hi", "--permissions", "ask", "--question-timeout", "1e3"],
    ["run", ""],
    ["run"],
    [
        "run",
        *(word for flag in SETTINGS for word in (flag.name, "1") if flag.metavar or word != "1"),
    ],
]
LEFT = [
    [],
    ["ps"],
    ["--quiet", "run", "hi"],
    ["run", "--help"],
    ["run", "-"],
    ["run", "hi", "again"],
    ["run", "--model"],
    ["run", "--model=opus", "hi"],
    ["run", "--mod", "opus", "hi"],
    ["run", "--model", "--quiet", "hi"],
    ["run", "--max-turns", "many", "hi"],
    ["run", "--timeout", "-1", "hi"],
    ["run", "-v", "hi"],
    ["run", "-o", "key=1", "hi"],
    ["run", "--on", "there", "hi"],
    ["run", "-ihi"],
    ["run", "--no-such-option", "hi"],
]


def by_click(words: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[App, dict[str, Any]]:
    given: dict[str, Any] = {}

    def keep(app: App, *values: Any, **named: Any) -> int:
        given.update(zip(("prompt", "text", "session"), values, strict=True), **named)
        return 0

    monkeypatch.setattr(run_command, "run_given", keep)
    app = App()
    cli.main(words, "claude-mpm", standalone_mode=False, obj=app)
    return app, {name: value for name, value in given.items() if value not in (None, False)}


@pytest.mark.parametrize("words", QUICK, ids=" ".join)
def test_what_is_read_without_click_is_read_as_click_reads_it(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = parse_run(words)
    assert read is not None
    app, given = by_click(words, monkeypatch)
    assert read.flags == app.flags
    assert read.shown == {name for name in ("json", "quiet") if getattr(app, name)}
    assert read.given == given
    assert not app.options
    assert not app.on


@pytest.mark.parametrize("words", LEFT, ids=" ".join)
def test_what_is_not_so_plain_is_left_to_click(words: list[str]) -> None:
    assert parse_run(words) is None


def test_every_setting_of_the_table_is_an_option_of_click() -> None:
    command = cli.get_command(click.Context(cli), "run")
    assert command is not None
    known = {name for option in command.params for name in option.opts}
    assert {flag.name for flag in SETTINGS} <= known


@pytest.mark.usefixtures("stand_in")
def test_nothing_that_a_start_does_not_need_is_imported_before_it(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"  # by what measures the coverage
        "def hook(event, given):\n"
        "    if event == 'subprocess.Popen' and given[1][-1:] != ['--version']:\n"
        "        open('imported', 'w').write('\\n'.join(set(sys.modules) - before))\n"
        "sys.addaudithook(hook)\n"
        "from claude_mpm.cli.main import main\n"
        "main(['run', '--quiet', 'hi'])\n"
    )
    environ = {**os.environ, "CLAUDE_MPM_STATE_DIR": str(tmp_path / "state")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environ, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout == "Claude heard: hi\n"
    imported = set((tmp_path / "imported").read_text().split())
    heavy = {
        "click", "dataclasses", "tempfile", "shutil", "random", "secrets", "base64",
        "platformdirs", "ctypes",
        "asyncio", "ssl", "rich", "yaml", "http.client", "email", "importlib.metadata",
        "claude_mpm.sessions.pipeline", "claude_mpm.sessions.reader", "claude_mpm.sessions.status",
        "claude_mpm.processors.tickets.processor", "claude_mpm.processors.delegations",
        "claude_mpm.engine.resume",
    }  # fmt: skip
    assert heavy & imported == set()


@pytest.mark.parametrize(
    "variables",
    [
        {"HOME": "/home/ann"},
        {"HOME": "/home/ann/", "XDG_CONFIG_HOME": "/etc/own", "XDG_STATE_HOME": "/var/own"},
        {"HOME": "/home/ann", "XDG_CONFIG_HOME": "relative", "XDG_STATE_HOME": ""},
        {"HOME": "relative"},
        {"HOME": ""},
        {},
    ],
)
def test_the_folders_are_those_of_platformdirs(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert user_folder("config") == platformdirs.user_config_path("claude-mpm", appauthor=False)
    assert user_folder("state") == platformdirs.user_state_path("claude-mpm", appauthor=False)
