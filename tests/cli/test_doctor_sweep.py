"""`claude-mpm doctor --sweep`: what a killed session or a power cut left is ended and removed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chaos.world import StandInWorld
from claude_mpm.cli.doctor_sweep import Swept, sweep
from claude_mpm.cli.main import main
from claude_mpm.folders import sweep_temporary, temporary_folder
from claude_mpm.journal import orphans
from claude_mpm.journal.lease import SessionLock
from claude_mpm.orchestration.orchestrator import MPMOrchestrator
from claude_mpm.sessions.store import Store
from claude_mpm.testing.faults import kill
from command import wait_until_gone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claude_mpm.journal.layout import SessionFolder

SECONDS = 60.0


@pytest.fixture
def world() -> Iterator[StandInWorld]:
    with StandInWorld() as world:
        yield world
        for path in list(orphans.marked()):
            if path.is_relative_to(world.path):
                orphans.end(path)


def left_running(world: StandInWorld, session: str) -> SessionFolder:
    """Start a session whose Claude has left a command running, and release it."""
    claude = MPMOrchestrator(**world.options(session))
    claude.start_or_raise()
    claude.ask("background").wait(SECONDS)
    claude.detach()
    return world.folder(session)


def kill_all_but_the_command(folder: SessionFolder) -> int:
    """Kill host, helpers and Claude; return the command that Claude left."""
    commands = {pid: command_of(pid) for pid in orphans.marked()[folder.path]}
    (tool,) = [pid for pid, command in commands.items() if b"trap" in command]
    host, claude = folder.pids() or (0, 0)
    helpers = [pid for pid, command in commands.items() if b"host.sh" in command]
    assert host in helpers
    pids = [host, *helpers, claude]  # the host first: it notes how a Claude ends
    kill(pids)
    wait_until_gone(pids)
    return tool


def command_of(pid: int) -> bytes:
    """Return the command line of a process; empty if it has ended, as a host's helpers may."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def run(world: StandInWorld, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, str]:
    with pytest.MonkeyPatch.context() as environ, pytest.raises(SystemExit) as ended:
        environ.setenv("CLAUDE_MPM_STATE_DIR", str(world.state))
        main(["doctor", "--sweep", *words])
    assert not ended.value.code
    captured = capsys.readouterr()
    return captured.out, captured.err


def swept_of(world: StandInWorld, *sessions: str) -> list[Swept]:
    """Sweep, and return what was found of these; other programs here may have left something."""
    return [each for each in sweep(Store(world.state)) if each.session in sessions]


def test_what_a_killed_session_left_goes(
    world: StandInWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = left_running(world, "killed")
    temporary = Path(folder.temporary.path.read_text().strip())
    tool = kill_all_but_the_command(folder)
    assert orphans.belongs(tool, folder.path)
    out, err = run(world, capsys)
    assert "killed\t" in out
    assert "1 temporary folders" in out
    assert "FIFOs" in out
    assert "had left something" in err
    assert folder.path not in orphans.marked()
    assert not temporary.exists()
    assert not folder.feed.exists()
    assert "killed\t" not in run(world, capsys)[0]


def test_a_session_that_runs_is_left_alone(
    world: StandInWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = left_running(world, "running")
    before = sorted(orphans.marked()[folder.path])
    out, _ = run(world, capsys, "--json")
    # Other programs on this machine may have left something, too.
    assert "running" not in [swept["session"] for swept in json.loads(out)["swept"]]
    assert set(before) >= {*(folder.pids() or ())}
    assert folder.has_host()
    with MPMOrchestrator(**world.options("running"), resume=True) as claude:
        assert claude.attached


def test_a_session_that_somebody_starts_is_left_alone(world: StandInWorld) -> None:
    folder = left_running(world, "starting")
    tool = kill_all_but_the_command(folder)
    lock = SessionLock(folder)
    assert swept_of(world, "starting") == []
    assert orphans.belongs(tool, folder.path)
    lock.release()
    (swept,) = swept_of(world, "starting")
    assert swept.what["processes"]
    assert not orphans.belongs(tool, folder.path)


def test_processes_of_a_session_whose_folder_was_removed_go(world: StandInWorld) -> None:
    folder = left_running(world, "removed")
    tool = kill_all_but_the_command(folder)
    shutil.rmtree(folder.path)
    (swept,) = swept_of(world, "removed")
    assert list(swept.what) == ["processes"]
    assert not orphans.belongs(tool, folder.path)


def test_sessions_of_another_state_folder_are_left_alone(
    world: StandInWorld, tmp_path: Path
) -> None:
    folder = left_running(world, "elsewhere")
    tool = kill_all_but_the_command(folder)
    swept = sweep(Store(tmp_path / "state"))
    assert "elsewhere" not in [each.session for each in swept]
    assert orphans.belongs(tool, folder.path)


def docker_session(world: StandInWorld) -> None:
    """Lay the record of a session that has ended, and was in a container."""
    for session in ("over", "unknown"):
        folder = world.folder(session)
        folder.create()
        folder.exit_file.write(b"0\n")
    meta: dict[str, Any] = {
        "session_id": "over", "claude_session_id": "x", "orchestrator": "docker",
        "environment": "docker", "wire": "stream-json", "cwd": "/", "created_at": 1.0,
    }  # fmt: skip
    world.folder("over").meta_file.write_text(json.dumps(meta))


def test_containers_of_sessions_that_are_over_go(
    world: StandInWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for the engine's command: that of a session that runs stays."""
    docker_session(world)
    log = tmp_path / "log"
    engine = tmp_path / "docker"
    engine.write_text(
        '#!/bin/sh\n[ "$1" = ps ] && { echo aaa over; echo bbb unknown; exit; }\n'
        f'echo "$@" >>"{log}"\n'
    )
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (swept,) = swept_of(world, "over", "unknown")
    assert (swept.session, swept.what) == ("over", {"containers": 1})
    assert log.read_text() == "rm --force aaa\n"


def test_an_engine_that_does_not_answer_is_one_line_and_the_rest_is_swept(
    world: StandInWorld,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    docker_session(world)
    (tmp_path / "docker").write_text("#!/bin/sh\nexec tail -f /dev/null\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("claude_mpm.cli.doctor_sweep._PATIENCE", 0.2)
    _, errors = run(world, capsys)
    assert "claude-mpm: containers are left: docker ps has not answered for 0.2 s" in errors


def test_without_an_engine_there_are_no_containers(
    world: StandInWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert swept_of(world, "over", "unknown") == []
    with pytest.raises(FileNotFoundError):
        subprocess.run(["docker"], check=False)


KILLED = """
import sys
from claude_mpm.folders import temporary_folder
with temporary_folder("demo") as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_the_temporary_folder_of_a_killed_command_goes_with_a_sweep_and_with_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("CLAUDE_MPM_STATE_DIR", str(tmp_path / "state"))
    for command in (sweep_temporary, lambda: run_demo_folder(tmp_path)):
        pipe = subprocess.PIPE
        with subprocess.Popen(
            [sys.executable, "-c", KILLED], stdin=pipe, stdout=pipe, text=True
        ) as owner:
            assert owner.stdout is not None
            folder = Path(owner.stdout.readline().strip())
            (folder / "home").mkdir()
            os.utime(folder, (1, 1))
            assert sweep_temporary() == 0, "its owner lives"
            owner.kill()
        command()
        assert not folder.exists()
    (tmp_path / "claude-mpm-demo-link").symlink_to("/")
    (tmp_path / "claude-mpm-probe-fresh").mkdir()
    with pytest.raises(SystemExit):
        main(["doctor", "--sweep", "--json"])
    assert json.loads(capsys.readouterr().out)["temporary_folders"] == 0
    assert (tmp_path / "claude-mpm-probe-fresh").exists()


def run_demo_folder(below: Path) -> None:
    with temporary_folder("demo") as folder:
        assert folder.parent == below.resolve()
    assert not folder.exists()
