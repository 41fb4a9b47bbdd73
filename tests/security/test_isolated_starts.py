"""No start imports anything from the current folder, which may be a cloned repository."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import claude_mpm
from claude_mpm.environments.docker import Docker
from claude_mpm.environments.ssh import SSH
from claude_mpm.own_python import own_environ, own_python
from command import SECONDS, Command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from claude_mpm.testing import ScriptedModel
    from conftest import MakeClaude
    from real_places import Engine, SSHServer
    from served import Served

SOURCES = Path(claude_mpm.__file__).parent
PLANTED = ("msgspec.py", "selectors.py", "importlib.py", "queue.py", "claude_mpm/__init__.py")
# Who may name the interpreter: what starts it, a text for the user, a script that has `-I`.
NAMING = {"own_python.py", "cli/doctor_checks.py", "testing/fake_kubectl.py"}


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The current folder has modules with the names of ours; each leaves a line in this file."""
    mark = tmp_path / "imported"
    for name in PLANTED:
        module = Path(name)
        module.parent.mkdir(exist_ok=True)
        module.write_text(f"open({str(mark)!r}, 'a').write({name!r})\n")
    return mark


def test_only_one_place_starts_python() -> None:
    naming = set()
    for path in SOURCES.rglob("*.py"):
        names = (node for node in ast.walk(ast.parse(path.read_text("utf-8"))))
        if any(isinstance(node, ast.Attribute) and node.attr == "executable" for node in names):
            naming.add(str(path.relative_to(SOURCES)))
    assert naming == NAMING
    for name in NAMING - {"own_python.py"}:
        lines = (SOURCES / name).read_text("utf-8").splitlines()
        assert all("-I" in line or "-P" in line for line in lines if "sys.executable" in line)


@pytest.mark.parametrize("path", ["", ".", "./", "other", None])
def test_a_process_of_ours_does_not_look_into_the_current_folder(
    mark: Path, path: str | None, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "of_the_user.py").write_text("")
    kept = os.pathsep.join([path, str(tmp_path / "mine")] if path is not None else [])
    environ = own_environ({**os.environ, "PYTHONPATH": kept})
    code = "import queue, selectors, importlib, msgspec, claude_mpm"
    code += ", of_the_user" if path is not None else ""
    done = subprocess.run(own_python("-c", code), env=environ, check=False)
    assert done.returncode == 0
    assert not mark.exists()


def test_a_process_of_ours_is_no_less_isolated_than_this_one() -> None:
    code = "from claude_mpm.own_python import own_python; print(own_python()[1:])"
    for flags, kept in ((["-I"], ["-I"]), (["-E"], ["-P", "-E"]), (["-s"], ["-P", "-s"])):
        command = [sys.executable, *flags, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == str(kept)


@pytest.fixture
def running(docker: Engine) -> Iterator[str]:
    """A container of somebody else's that runs."""
    words = ["docker", "run", "--detach", "--rm", "--pull=never", "--init", "--network=host"]
    words += ["--user=1000", "--env=HOME=/tmp"]
    words += ["--volume", f"{docker.claude}:/usr/local/bin/claude:ro"]
    words += [docker.image, "tail", "-f", "/dev/null"]
    container = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    yield container
    subprocess.run(["docker", "kill", container], stdout=subprocess.DEVNULL, check=True)


def _inside(real: Callable[[str], Any]) -> dict[str, Any]:
    place = Docker(
        real("docker").image,
        network="host",
        mounts=f"{real('docker').claude}:/usr/local/bin/claude:ro",
        inside=SSH(real("sshd").host, config=real("sshd").config),
    )
    return {"environment": place, "claude_path": None}


def _ssh(sshd: SSHServer) -> dict[str, Any]:
    return {"host": sshd.host, "config": sshd.config, "claude_path": sshd.claude}


def _remote(served: Served) -> dict[str, Any]:
    return {"address": served.start("--anonymous"), "tls": False, "claude_path": None}


PLACES: dict[str, tuple[str, Callable[[Callable[[str], Any]], dict[str, Any]]]] = {
    "terminal": ("terminal", lambda real: {"trust": True, "permission_mode": "default"}),
    "ssh": ("ssh", lambda real: _ssh(real("sshd"))),
    "remote": ("remote", lambda real: _remote(real("served"))),
    "docker, container=": (
        "docker",
        lambda real: {"container": real("running"), "claude_path": None},
    ),
    "docker, inside=": ("local", _inside),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_start_imports_nothing_from_the_project(
    place: str, mark: Path, make_claude: MakeClaude, request: pytest.FixtureRequest
) -> None:
    name, options_of = PLACES[place]
    options = options_of(request.getfixturevalue)
    with make_claude(name, **options, session_id="one") as claude:
        assert claude.ask("hello").wait(SECONDS).verdict.ok
    with make_claude(name, **options, session_id="one", resume=True) as claude:
        assert claude.ask("again").wait(SECONDS).verdict.ok
    assert not mark.exists()


@pytest.fixture
def far(model: ScriptedModel, home: Path, sshd: SSHServer) -> Iterator[tuple[Command, list[str]]]:
    """The command, and the flags for a session on another machine."""
    command = Command(model, home, sshd.claude)
    words = ["--orchestrator=ssh", "-o", f"host={sshd.host}", "-o", f"config={sshd.config}"]
    yield command, words
    command.close()


def test_no_command_imports_from_the_project(mark: Path, far: tuple[Command, list[str]]) -> None:
    command, place = far
    command("run", "--detach", *place, "hello")
    session = command.session()
    link = session.pids()
    assert link is not None
    os.kill(link[0], 9)  # so that whoever comes next starts it again
    name = session.path.name
    assert "Claude heard: hello" in command("attach", name).stdout
    command("stop", name)
    assert "Claude heard: more" in command("resume", name, "more").stdout
    only = "--only=claude-does-not-outlive-its-last-follower"
    command("orchestrators", "check", "local", only)
    assert not mark.exists()
