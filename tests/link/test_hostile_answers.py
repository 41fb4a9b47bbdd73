"""What a place answers is cut where no answer is that long, and not waited for without end."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from claude_mpm.environments import base
from claude_mpm.environments.base import Environment
from claude_mpm.environments.engine import Engine
from claude_mpm.errors import LaunchError
from claude_mpm.link import shell
from claude_mpm.link.answer import MarkedOutput
from claude_mpm.link.command import run_short
from claude_mpm.link.far import LinkCut
from claude_mpm.link.shell import ShellFar, ShellSpec
from claude_mpm.sessions.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

LEFT = 'sleep 600 & echo $! >>"$PIDS"; '
ENDLESS = {
    "before the answer": "exec yes",
    "in the answer": '"$@"; printf "\\n\\036"; exec yes',
    "without a line's end": "exec tr '\\0' x </dev/zero",
    "in its errors": "exec yes >&2",
}
MARKED = "read -r mark; read -r asked; printf '\\n\\036%s\\n' \"$mark\"; "


class Hostile(Environment):
    """A place with a script in front of what it runs; what it leaves behind is ended."""

    name = "hostile"

    def __init__(self, script: str, pids: Path) -> None:
        self._script = script
        self._pids = pids

    def wrap(self, argv: Sequence[str]) -> list[str]:
        return ["env", f"PIDS={self._pids}", "sh", "-c", self._script, "hostile", *argv]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here may need what is waited for at most, which is longer than a test may take."""
    monkeypatch.setattr(base, "_PATIENCE", 600.0)
    monkeypatch.setattr(shell, "_PATIENCE", 600.0)


@pytest.fixture
def pids(tmp_path: Path) -> Iterator[Path]:
    """A file that what is left running puts its process ids into."""
    file = tmp_path / "pids"
    file.touch()
    yield file
    for pid in map(int, file.read_text().split()):
        os.kill(pid, signal.SIGKILL)


def test_an_answer_is_there_though_a_child_holds_the_output(pids: Path) -> None:
    place = Hostile(LEFT + 'exec "$@"', pids)
    assert place.run(["echo", "hello"]) == b"hello\n"
    assert Engine("echo", place).run("hello") == "hello"
    assert len(pids.read_text().split()) == 2


def test_what_a_child_says_behind_the_answer_breaks_nothing(pids: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    place = Hostile(f'(read -r _ <{gate}; echo more; echo more >&2) & exec "$@"', pids)
    assert place.run(["echo", "hello"]) == b"hello\n"
    reading = [each for each in threading.enumerate() if each.name == "claude-mpm-output"]
    assert reading
    gate.write_text("\n")
    for thread in reading:  # an error in one of them fails the test
        thread.join(60)
        assert not thread.is_alive()


def test_a_child_that_holds_the_output_of_no_answer_is_not_waited_for(
    pids: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_PATIENCE", 1.0)
    with pytest.raises(LaunchError, match="timed out after 1"):
        Hostile(LEFT + "echo no entry >&2; exit 1", pids).run(["true"])


def test_an_answer_counts_though_its_command_goes_on_and_on() -> None:
    answer = MarkedOutput()
    command = ["sh", "-c", '"$@"; exec yes', "x", *answer.command(["echo", "hi"])]
    done = run_short(command, answer, data=b"", timeout=60)
    assert (done.stdout, answer.status) == (b"hi\n", 0)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("script", ENDLESS.values(), ids=list(ENDLESS))
def test_an_answer_that_never_ends_is_cut(script: str, pids: Path) -> None:
    place = Hostile(script, pids)
    with pytest.raises(LaunchError) as refused:
        place.run(["cat", "/dev/zero"])
    assert len(str(refused.value)) < 10_000


@pytest.mark.parametrize("script", ["sleep 600", "trap '' TERM; cat; sleep 600"])
def test_a_place_that_never_answers_is_given_up(
    script: str, pids: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_PATIENCE", 1.0)
    with pytest.raises(LaunchError, match="timed out after 1"):
        Hostile(LEFT + script, pids).run(["true"], data=b"x" * (1 << 20))


def far(script: str) -> ShellFar:
    spec = ShellSpec(
        place="hostile", shell=["sh"], far=["sh", "-c", script], folder="/x", cwd="", host=":"
    )
    return ShellFar(spec, Store().folder("one"))


def test_who_has_enough_of_a_file_ends_its_command() -> None:
    pieces = far(MARKED + "echo size 99; exec yes").fetch("err.log", 0)
    assert next(iter(pieces))
    pieces.close()  # type: ignore[attr-defined]
    children = subprocess.run(
        ["ps", "-o", "args=", "--ppid", str(os.getpid())],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "yes" not in children.stdout.split("\n")


@pytest.mark.parametrize(
    "script",
    [
        *("exec yes", "exec sleep 600", "exec yes >&2", MARKED + "exec tr '\\0' x </dev/zero"),
        *(MARKED + "exec sleep 600", MARKED + "echo size 9; echo one; exec sleep 600"),
    ],
)
def test_a_file_that_does_not_come_is_a_cut_link(
    script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "_PATIENCE", 1.0)
    with pytest.raises(LinkCut, match="did not come whole"):
        list(far(script).fetch("err.log", 0))


@pytest.mark.parametrize("script", ["exec yes", "exec sleep 600", "exec yes >&2"])
def test_a_journal_behind_endless_chatter_is_given_up(
    script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "_PATIENCE", 1.0)
    with pytest.raises(LinkCut, match="the journal is not sent"):
        far(script).follow(0)
