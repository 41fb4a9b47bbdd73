"""What a Claude says that does not start is told: the line that says what, and which Claude."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from claude_mpm import create_orchestrator
from claude_mpm.claude_binary import find_claude
from claude_mpm.errors import ClaudeNotFound, LaunchError
from claude_mpm.journal.layout import SessionFolder
from claude_mpm.validation import error_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import MakeClaude
    from served import Served

PRINTED = {
    "nothing": ("\n \n", ""),
    "one line": ("Killed\n", "Killed"),
    "the last where none says error": (
        "a warning\nNo conversation found\n",
        "No conversation found",
    ),
    "with what belongs to it": (
        "Warning: old\nError: Invalid --agents:\na.tools: expected array\n(read from x)\n",
        "Error: Invalid --agents: a.tools: expected array (read from x)",
    ),
    "with a hint": (
        "error: unknown option '--nope'\n(Did you mean --name?)\n",
        "error: unknown option '--nope' (Did you mean --name?)",
    ),
    "what Bun writes around it": (
        "14 | <${k5}>${M}\n15 | `}var x\n             ^\nENOENT: no such file, uv_os_homedir\n"
        ' syscall: "uv_os_homedir",\n   errno: -2,\n    code: "ENOENT"\n\n'
        "      at /$bunfs/root/chunk.js:16:1724\n\nBun v1.4.4 (Linux x64)\n",
        "ENOENT: no such file, uv_os_homedir",
    ),
    "a traceback of a shim": (
        'Traceback (most recent call last):\n  File "x", line 1\nModuleNotFoundError: No module\n',
        "ModuleNotFoundError: No module",
    ),
    "the last of several": ("Error: first\nError: second\n", "Error: second"),
}


@pytest.mark.parametrize(("printed", "told"), PRINTED.values(), ids=PRINTED)
def test_the_line_that_says_what_is_found(printed: str, told: str) -> None:
    assert error_line(printed) == told


def test_a_line_without_end_is_cut() -> None:
    assert len(error_line("x" * 100_000)) == 400


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], str]:
    def make(body: str) -> str:
        path = tmp_path / "my-claude"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return str(path)

    return make


ENDS = {
    "a status": ("exit 7", "ended with status 7 before it answered"),
    "a reason": (
        "echo Error: no way >&2; echo 'Bun v1 (x)'; exit 1",
        "1 before it answered: Error: no way",
    ),
    "done at once": ("exit 0", "ended with status 0 before it answered"),
    "done with a word": (
        "echo usage: my-claude FILE",
        "0 before it answered: usage: my-claude FILE",
    ),
    "a word and a message": ('echo \'{"type":"x"}\'; echo bye', "0 before it answered: bye"),
    "a signal": ("kill -9 $$", "ended with status 137 before it answered"),
}


@pytest.mark.parametrize(("body", "told"), ENDS.values(), ids=ENDS)
def test_a_claude_that_does_not_start_is_named_with_its_status_and_words(
    program: Callable[[str], str], body: str, told: str
) -> None:
    path = program(body)
    claude = create_orchestrator("local", claude_path=path)
    with pytest.raises(LaunchError) as caught:
        claude.start_or_raise()
    claude.stop()
    assert str(caught.value).startswith(f"Claude did not start: {path} ")
    assert told in str(caught.value)


SCRIPTS = {
    "no such interpreter": (
        "#!/no/such/sh -e\n",
        r"a script for /no/such/sh, and there is no such",
    ),
    "CR LF": ("#!/bin/sh\r\nexit 0\r\n", r"a script whose lines end with CR LF; save"),
    "not UTF-8": ("#!/no/\udcff\n", r"a script for /no/<U\+DCFF>, and"),
}


@pytest.mark.parametrize(("content", "told"), SCRIPTS.values(), ids=SCRIPTS)
@pytest.mark.parametrize("on_path", [False, True])
def test_a_script_without_its_interpreter_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, told: str, on_path: bool
) -> None:
    path = tmp_path / "claude"
    path.write_bytes(os.fsencode(content))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ClaudeNotFound, match=f"{re.escape(str(path))}, {told}"):
        find_claude(None if on_path else str(path))


def test_an_interpreter_that_is_there_is_taken(program: Callable[[str], str]) -> None:
    assert str(find_claude(program("exit 0"))).endswith("my-claude")


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_what_a_shell_cannot_run_is_told_without_the_line_of_the_script(
    tmp_path: Path, shell: str
) -> None:
    script = tmp_path / "host.sh"
    script.write_text('exec "$@"\n')
    done = subprocess.run([shell, script, "/no/such"], capture_output=True, check=False)
    folder = SessionFolder(tmp_path / "session")
    folder.create()
    folder.errors.append(done.stderr)
    assert folder.stderr_tail().startswith("/no/such: ")


def test_a_start_that_failed_is_told_with_its_own_words_alone(
    program: Callable[[str], str],
) -> None:
    path = program("echo 'Error: the old reason' >&2; exit 1")
    first = create_orchestrator("local", claude_path=path, session_id="one")
    with pytest.raises(LaunchError, match="the old reason"):
        first.start_or_raise()
    first.stop()
    program("exit 3")
    second = create_orchestrator("local", claude_path=path, session_id="one", resume=True)
    with pytest.raises(LaunchError, match=r"status 3 before it answered$"):
        second.start_or_raise()
    second.stop()
    assert "the old reason" in second.store.folder("one").errors.path.read_text()


def test_the_real_claude_says_why_it_takes_no_such_agents(
    make_claude: MakeClaude, tmp_path: Path
) -> None:
    file = tmp_path / "agents.json"
    file.write_text(json.dumps({"a": {"description": 3, "prompt": "x"}}))
    claude = make_claude(claude_args=["--agents", str(file)], use_framework=False)
    with pytest.raises(LaunchError, match=r"a\.description: Invalid input: expected string"):
        claude.start_or_raise()


def test_a_server_s_claude_that_does_not_start_says_why(
    served: Served, program: Callable[[str], str]
) -> None:
    path = program("echo Error: no way >&2; echo '(read from x)' >&2; exit 3")
    token = served.token()
    served.start()
    claude = served.claude(token=token, claude_path=path)
    with pytest.raises(LaunchError, match=r"status 3 before it answered: Error: no way \(read"):
        claude.start_or_raise()
