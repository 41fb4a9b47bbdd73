"""What Claude makes has the rights that whoever started it gives; the session stays closed."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from claude_mpm.testing import Call
from command import PROGRAM, Command

if TYPE_CHECKING:
    from claude_mpm.testing import ScriptedModel

ALLOWED = ("--allowed-tools", "Bash", "--allowed-tools", "Write")
# What a tool has of the process it is in; descriptors beyond the first three are its own.
LOOK = "umask; grep -E '^Sig(Ign|Blk)' /proc/$CLAUDE_PID/status; ulimit -a; pwd -P"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def run(command: Command, umask: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", f'umask {umask}; exec "$@"', "sh", *words], env=command.environ,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip


@pytest.mark.parametrize("umask", ["022", "002", "077", "000"])
def test_what_claude_makes_has_the_callers_umask(
    command: Command, model: ScriptedModel, umask: str
) -> None:
    written = Path("written.txt").absolute()
    made = Call("Bash", command="umask; touch made; mkdir folder")
    model.on("go", made, Call("Write", file_path=str(written), content="x"), "Done.")
    run(command, umask, str(PROGRAM), "run", *ALLOWED, "go")
    results = [result.text for request in model.requests for result in request.tool_results]
    closed = int(umask, 8)
    assert results[0].split()[0] == f"0{umask}"
    assert mode(Path("made")) == mode(written) == 0o666 & ~closed
    assert mode(Path("folder")) == 0o777 & ~closed
    session = command.session()
    files = [path for path in session.path.rglob("*") if path.is_file()]
    assert {mode(path) for path in files} == {0o600}
    assert {mode(path) for path in (session.path, *session.path.rglob("*/"))} <= {0o700}


def test_a_claude_that_is_started_again_has_it_too(command: Command, model: ScriptedModel) -> None:
    model.on("go", Call("Bash", command="touch made"), "Done.")
    run(command, "022", str(PROGRAM), "run", "--session", "s", *ALLOWED, "hello")
    run(command, "002", str(PROGRAM), "resume", "s", "go", *ALLOWED)
    assert mode(Path("made")) == 0o664


def test_nothing_else_of_the_host_leaks_into_claude(
    command: Command, model: ScriptedModel, claude_path: str
) -> None:
    """Signals, limits, the folder and descriptors are as where bare Claude is started."""
    model.on("go", Call("Bash", command=LOOK), "Done.")
    model.on("open", Call("Bash", command="ls /proc/$CLAUDE_PID/fd"), "Done.")
    ours, theirs = (str(PROGRAM), "run", *ALLOWED), (claude_path, "-p", "--allowedTools=Bash", "--")
    for words in (ours, theirs):
        for prompt in ("go", "open"):
            run(command, "022", *words, prompt)
    said = [result.text for request in model.requests for result in request.tool_results]
    assert said[0] == said[2]
    assert set(said[1].split()) <= set(said[3].split()) | {str(n) for n in range(6, 64)}
