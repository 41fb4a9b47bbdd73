"""A far folder of which every byte is hostile decides nothing here, and nothing waits for it."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from attacks import (
    ACTS,
    LOOKS,
    acts,
    lay_outside,
    left_alone,
    looks,
    private,
    replace,
)  # fmt: skip
from chaos.world import StandInWorld
from claude_mpm import create_orchestrator
from claude_mpm.journal.storage import remove_tree
from claude_mpm.link.lock import is_linked
from command import wait_until_gone

if TYPE_CHECKING:
    from collections.abc import Iterator


SECONDS = 60.0
MEMORY = 100 << 20  # bytes of a link
# What the far end of the link may be made to say instead.
MARK = "read -r mark\nprintf '\\n\\036%s\\n' \"$mark\"\n"
ENDS = {
    "endless": MARK + "while :; do echo 'pid 1 1'; done",
    "a line without end": MARK + "exec tr '\\0' x </dev/zero",
    "silent": MARK + "exec sleep 600",
    "numbers": "read -r verb first second\n"
    "case $verb in state) echo 'pid -1 -1'; echo 'pid 99999999999999999999 1'; echo 'exit -1e9';"
    " echo 'size 99999999999999999999'; echo 'place ../../x'; echo ok ;; esac",
    "ended": "read -r verb first second\n"
    "case $verb in state) echo 'exit 0'; echo 'size 4611686018427387903'; echo ok ;;"
    " fetch) yes '{' ;; *) echo ok ;; esac",
    "nothing": ":",
}


class Far:
    """A session on another machine, which is another home on this one, behind a false `ssh`."""

    def __init__(self, world: StandInWorld) -> None:
        variables = {name: world.environ()[name] for name in ("CLAUDE_CONFIG_DIR",)}
        claude = create_orchestrator("ssh", host="far", variables=variables, **world.options("s"))
        claude.start_or_raise()
        assert claude.ask("hello").wait(SECONDS).text
        claude.detach()
        self.near = world.folder("s")
        self.far = Path(json.loads(self.near.link_file.read_bytes())["folder"])

    def speaks(self, script: str) -> None:
        """Put another script in the place of the far end."""
        draft = self.far / "draft"
        draft.write_text(script)
        draft.replace(self.far / "far.sh")

    def link_memory(self) -> int:
        """Return how much the link takes, in bytes; 0 where there is none."""
        pids = self.near.pids()
        if pids is None or not is_linked(self.near):
            return 0
        try:
            status = Path(f"/proc/{pids[0]}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):  # it has ended since
            return 0
        peaks = [line for line in status.splitlines() if line.startswith("VmHWM")]
        return int(peaks[0].split()[1]) << 10 if peaks else 0  # one that is ending has none


def links(world: StandInWorld) -> list[int]:
    """Return the process id of the session's link, if there is one at work."""
    folder = world.folder("s")
    pids = folder.pids()
    return [pids[0]] if pids is not None and is_linked(folder) else []


def those_with(variable: str) -> Iterator[int]:
    """Yield the processes that have a variable in their environment."""
    for file in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it has ended, or is another user's
            if variable.encode() in file.read_bytes().split(b"\0"):
                yield int(file.parent.name)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandInWorld]:
    with StandInWorld() as world:
        home, programs = tmp_path / "far-home", tmp_path / "programs"
        home.mkdir()
        programs.mkdir()
        ssh = programs / "ssh"
        variables = f"PATH=/usr/bin:/bin HOME={home}"
        ssh.write_text(f'#!/bin/sh\nfor last; do :; done\nexec env -i {variables} sh -c "$last"\n')
        ssh.chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("CLAUDE_MPM_STATE_DIR", str(world.state))
        yield world
        for pid in [*links(world), *those_with(f"HOME={home}")]:
            with suppress(ProcessLookupError):  # one that the one before has ended
                os.kill(pid, signal.SIGKILL)
            wait_until_gone([pid])
        for each in (world.state, home):
            remove_tree(each)  # deeper than others can


@pytest.fixture
def far(world: StandInWorld) -> Far:
    return Far(world)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return lay_outside(tmp_path / "outside")


def every_command(far: Far, outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Run all but those that wait long: nothing outside is touched, nothing of ours is changed."""
    before = private(far.near)
    with left_alone(outside):
        for words in LOOKS:
            looks(capsys, *words)
        for words in ACTS:
            acts(*words)
        assert private(far.near) == before
        assert far.link_memory() < MEMORY


@pytest.mark.parametrize("attack", ["a link to a folder", "a FIFO", "a folder", "nothing"])
@pytest.mark.parametrize("name", ["exchange", "far.sh"])
def test_a_folder_or_a_script_there_is_replaced(
    far: Far, outside: Path, capsys: pytest.CaptureFixture[str], name: str, attack: str
) -> None:
    replace(far.far / name, attack, outside)
    with left_alone(outside):
        for words in (("ps", "--all"), ("show", "s"), ("logs", "s")):
            looks(capsys, *words)


@pytest.mark.timeout(600)  # 16 commands, each bounded
@pytest.mark.parametrize("end", ENDS)
def test_the_far_end_says_what_it_likes(
    far: Far, outside: Path, capsys: pytest.CaptureFixture[str], end: str
) -> None:
    far.speaks(ENDS[end])
    every_command(far, outside, capsys)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("end", ["silent", "endless", "nothing"])
def test_a_stop_that_the_far_side_does_not_confirm_is_no_success(
    far: Far, outside: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setenv("CLAUDE_MPM_STOP_TIMEOUT", "1")
    far.speaks(ENDS[end])
    with left_alone(outside):
        stopped = acts("stop", "s")
    assert stopped.returncode == 1
    assert f"does not end; its place does not answer; {far.near.host_errors}" in stopped.stdout
    assert not far.near.has_ended()
    assert far.far.exists()
