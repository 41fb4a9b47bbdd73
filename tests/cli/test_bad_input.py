"""Whatever is wrong: one line that says so, the right status, and no traceback."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from claude_mpm.testing import ScriptedModel

COMMAND = Path(sys.executable).parent / "claude-mpm"
_TIMEOUT = 100.0
_SIX_MB = b"All work and no play. " * 300_000
pytestmark = pytest.mark.usefixtures("stand_in")


class Ended(NamedTuple):
    status: int
    out: str
    err: str


def run(
    *words: str | Path, stdin: bytes = b"", env: dict[str, str] | None = None, front: str = ""
) -> Ended:
    """Run the installed command; `front` is shell that stands before it."""
    argv = [str(COMMAND), *map(str, words)]
    if front:
        argv = ["sh", "-c", f"{front} exec {shlex.join(argv)}"]
        # A user alone may mount in namespaces of its own; so may root.
        argv = ["unshare", "--map-root-user", "--mount", *argv]
    environ = {**os.environ, **(env or {})}
    ended = subprocess.run(argv, input=stdin, capture_output=True, env=environ, timeout=_TIMEOUT)
    return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())


def assert_refused(ended: Ended, status: int, *said: str) -> None:
    assert "Traceback" not in ended.err
    lines = [line for line in ended.err.splitlines() if line.startswith("claude-mpm: ")]
    assert len(lines) == 1, ended.err
    for text in said:
        assert text in lines[0]
    assert ended.status == status, ended.err


def small_disk(folder: Path, size: str) -> str:
    folder.mkdir()
    return f"mount -t tmpfs -o size={size} tmpfs {shlex.quote(str(folder))} &&"


def hidden_wheel(folder: Path) -> dict[str, str]:
    """An environment in which there is no `claude`, on PATH or in the wheel."""
    (folder / "claude_agent_sdk").mkdir(parents=True)
    (folder / "claude_agent_sdk" / "__init__.py").touch()
    return {"PYTHONPATH": str(folder), "PATH": str(folder)}


def test_without_claude_the_two_ways_to_get_it_are_named(tmp_path: Path) -> None:
    ended = run("run", "hello", env=hidden_wheel(tmp_path / "empty"))
    assert_refused(ended, 3, "install Claude Code", "pip install claude-agent-sdk")


def test_a_claude_path_that_does_not_exist_is_no_reason_to_take_another_one() -> None:
    ended = run("run", "hello", env={"CLAUDE_PATH": "/no/such/claude"})
    assert_refused(ended, 3, "CLAUDE_PATH", "/no/such/claude")


def test_a_claude_that_dies_at_once_is_told_with_its_last_words(stand_in: Path) -> None:
    stand_in.write_text("#!/bin/sh\necho 'cannot start today' >&2\nexit 7\n")
    assert_refused(run("run", "hello"), 1, "status 7", "cannot start today")


def test_an_unknown_orchestrator_is_answered_with_those_there_are() -> None:
    ended = run("run", "--orchestrator", "lokal", "hello")
    assert_refused(ended, 2, "'lokal'", "did you mean 'local'")


def test_an_empty_framework(tmp_path: Path) -> None:
    framework = tmp_path / "RULES.md"
    framework.write_text(" \n")
    assert_refused(run("run", "--framework", framework, "hello"), 5, str(framework), "empty")


def test_a_broken_agent_file_is_named_with_its_line(tmp_path: Path) -> None:
    agent = tmp_path / "writer.md"
    agent.write_text("---\nname: writer\ndescription: for example\neffort: fast\n---\nWrite.\n")
    ended = run("run", "--agents-dir", tmp_path, "hello")
    assert_refused(ended, 5, f"{agent}, line 4")


def test_a_typo_in_the_settings_is_answered_with_the_nearest_name() -> None:
    Path(".claude-mpm.toml").write_text('# mine\nmodle = "opus"\n')
    assert_refused(run("run", "hello"), 4, ".claude-mpm.toml, line 2", "`modle`", "`model`")


@pytest.mark.parametrize("words", [("run", "-"), ("run",), (), ("run", "-i", ""), ("run", " ")])
def test_a_prompt_of_0_bytes(words: tuple[str, ...]) -> None:
    assert_refused(run(*words), 2, "the prompt is empty")


def test_a_prompt_that_is_no_text() -> None:
    assert_refused(run("run", "-", stdin=b"ab\xff\xfe"), 2, "not UTF-8", "offset 2")


@pytest.mark.parametrize("where", ["current", "--cwd", "CLAUDE_MPM_STATE_DIR", "its default"])
def test_a_folder_whose_name_is_no_text_is_shown_in_one_way(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / os.fsdecode(b"w\xff")
    folder.mkdir()
    words = ["run", "hello"]
    env = {}
    if where == "current":
        monkeypatch.chdir(folder)
    elif where == "--cwd":
        words += ["--cwd", str(folder)]
    else:
        env[where if where.isupper() else "XDG_STATE_HOME"] = str(folder)
    assert_refused(run(*words, env=env), 4, "not UTF-8", f"{tmp_path}/w<U+DCFF>")


def test_a_prompt_of_6_mb() -> None:
    ended = run("run", "-", stdin=_SIX_MB)
    assert ended.status == 0, ended.err
    assert ended.out == f"Claude heard: {_SIX_MB.decode()}\n"


def test_a_prompt_of_6_mb_reaches_the_model_whole_through_the_real_claude(
    model: ScriptedModel, tmp_path: Path, claude_path: str
) -> None:
    model.on("All work", "That is a lot.")
    env = model.environment(tmp_path / "claude-home", CLAUDE_PATH=claude_path)
    # Claude Code itself refuses what is longer than the model's context, unless it is told a limit.
    ended = run("run", "-", stdin=_SIX_MB, env=env)
    assert (ended.status, len(model.requests)) == (1, 0)
    assert ended.err.startswith("failed (Prompt is too long)")
    assert ended.err.count("\n") == 1
    env["CLAUDE_CODE_BLOCKING_LIMIT_OVERRIDE"] = "100000000"
    ended = run("run", "-", stdin=_SIX_MB, env=env)
    assert ended.status == 0, ended.err
    assert ended.out == "That is a lot.\n"
    assert _SIX_MB.decode().strip() in model.wait_for_request("All work").prompt


@pytest.mark.parametrize("words", [("run", "hello"), ("ps",), ("tickets",), ("delegations",)])
def test_a_state_folder_that_cannot_be_made(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "file").touch()
    ended = run(*words, env={"CLAUDE_MPM_STATE_DIR": str(tmp_path / "file" / "state")})
    assert_refused(ended, 1, str(tmp_path / "file" / "state"))


def test_a_state_folder_that_cannot_be_written(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    front = small_disk(disk, "1m") + f" mount -o remount,ro {disk} &&"
    ended = run("run", "hello", env={"CLAUDE_MPM_STATE_DIR": str(disk / "state")}, front=front)
    assert_refused(ended, 1, str(disk), "Read-only file system")


# From the first file, over the index, to the middle of the answer.
@pytest.mark.parametrize("size", ["4k", "16k", "80k", "96k", "128k", "600k"])
def test_a_full_disk(tmp_path: Path, size: str) -> None:
    disk = tmp_path / "disk"
    env = {"CLAUDE_MPM_STATE_DIR": str(disk / "state"), "STAND_IN_LINES": "100000"}
    ended = run("run", "hello", env=env, front=small_disk(disk, size))
    assert_refused(ended, 1, str(disk))
    assert "full" in ended.err or "No space left" in ended.err or "disk I/O error" in ended.err


def test_a_full_disk_under_the_real_claude(
    model: ScriptedModel, tmp_path: Path, claude_path: str
) -> None:
    model.on("hello", "A long story.\n" * 100_000)
    disk = tmp_path / "disk"
    env = model.environment(tmp_path / "claude-home", CLAUDE_PATH=claude_path)
    env["CLAUDE_MPM_STATE_DIR"] = str(disk / "state")
    assert_refused(run("run", "hello", env=env, front=small_disk(disk, "400k")), 1, str(disk))


@pytest.mark.parametrize("command", ["show", "logs", "attach", "stop", "wait", "resume"])
def test_an_unknown_session(command: str) -> None:
    assert_refused(run(command, "nobody"), 2, "'nobody'", "claude-mpm ps")


def test_a_message_for_an_unknown_session() -> None:
    assert_refused(run("send", "nobody", "hello"), 2, "'nobody'", "claude-mpm ps")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ValueError('boom\\nand more')", "ValueError: boom"),
        ("import sys; sys.exit(7)", "SystemExit: 7"),
        ("def f(:", "SyntaxError"),
        ("import no_such_module", "no_such_module"),
    ],
)
def test_a_plugin_that_raises(tmp_path: Path, code: str, said: str) -> None:
    (tmp_path / "plug_in.py").write_text(code)
    ended = run("run", "--plugin", "plug_in", "hello", env={"PYTHONPATH": str(tmp_path)})
    assert_refused(ended, 2, "'plug_in'", said)


@pytest.mark.parametrize(
    "words", [("rum", "hello"), ("run", "--modle", "x"), ("tickets", "shut"), ("tickets", "show")]
)
def test_a_command_line_that_cannot_be_meant(words: tuple[str, ...]) -> None:
    assert_refused(run(*words), 2, "--help")


@pytest.mark.parametrize("file", ["/no/such/file", "/"])
def test_a_file_to_scan_that_cannot_be_read(file: str) -> None:
    assert_refused(run("tickets", "scan", file), 2, f"{file}: cannot be read")


def test_an_output_file_that_cannot_be_written() -> None:
    ended = run("tickets", "export", "--output", "/no/such/folder/tickets.csv")
    assert_refused(ended, 1, "/no/such/folder/tickets.csv")
