"""A container sees nothing of other sessions, though a folder is mounted that has them in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.environments.docker import Docker
from claude_mpm.environments.ssh import SSH
from claude_mpm.errors import LaunchError, UsageError
from claude_mpm.orchestration.orchestrator import MPMOrchestrator
from claude_mpm.sessions.store import Store

if TYPE_CHECKING:
    from real_places import Engine, SSHServer

SECONDS = 60.0


def seen(place: Docker, folder: str, **options: Any) -> list[str]:
    """Return what a program in a new container finds below a folder, but for the session's own."""
    script = (
        f"find {folder} -mindepth 1 2>/dev/null | grep -v '/s$\\|/s/';"
        f" touch {folder}/made 2>/dev/null && echo made; echo end; read -r go"
    )
    found = []
    claude = MPMOrchestrator(
        environment=place, session_id="s", wire="plain-text", claude_path="/bin/sh",
        claude_args=["-c", script], use_framework=False, **options,
    )  # fmt: skip
    with claude:
        while (line := claude.get_output(SECONDS)) != "end":
            assert line is not None
            found.append(line)
        claude.send_input("go")
    return found


@pytest.mark.parametrize("mounted", ["", "local", "local/state"])
def test_the_state_folder_of_this_machine_is_empty_inside(
    docker: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mounted: str
) -> None:
    state = tmp_path / "held" / "local" / "state" / "claude-mpm"
    state.parent.mkdir(parents=True)
    for each in (state.parents[0], state.parents[1], state.parents[2]):
        each.chmod(0o755)  # as a user's own is to that user
    monkeypatch.setenv("CLAUDE_MPM_STATE_DIR", str(state))
    other = Store().folder("other")
    other.create()
    other.meta_file.write_text("{}")
    source = tmp_path / "held" / mounted
    if os.geteuid() == 0:
        os.chown(".", 4242, 4242)
    place = Docker(docker.image, network="none", mounts=[f"{source}:/held", f"{tmp_path}/held"])
    inside = Path("/held", state.relative_to(source))
    for folder in (inside, state):
        assert [each for each in seen(place, str(folder)) if not _leads_to_it(each, state)] == []


def _leads_to_it(found: str, state: Path) -> bool:
    """Return whether a folder is only on the way to the session's own."""
    return found == f"{state}/sessions"


@pytest.mark.parametrize("below", ["", "sessions", "sessions/other", "sessions/other/meta.json"])
def test_nothing_in_the_state_folder_is_mounted(
    docker: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    monkeypatch.setenv("CLAUDE_MPM_STATE_DIR", str(tmp_path / "state"))
    Store().folder("other").create()
    Store().folder("other").meta_file.write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "state" / below)
    for source in (tmp_path / "state" / below, tmp_path / "link"):
        place = Docker(docker.image, network="none", mounts=f"{source}:/held")
        claude = MPMOrchestrator(environment=place, session_id="s")
        with pytest.raises(UsageError, match="is not mounted, as all sessions are kept in"):
            claude.start_or_raise()
        claude.stop()


def far_home(place: SSH) -> str:
    return place.run(["sh", "-c", 'printf %s "$HOME"']).decode()


@pytest.fixture
def ssh(sshd: SSHServer) -> SSH:
    return SSH(sshd.host, config=sshd.config)


@pytest.fixture
def another(ssh: SSH) -> str:
    """Another session's folder on the other machine, with a script that is run there."""
    folder = f"{far_home(ssh)}/.local/state/claude-mpm/far/0000/another"
    script = 'umask 077; mkdir -p "$0" && echo : >"$0/far.sh"'
    ssh.run(["sh", "-c", script, folder])
    return folder


@pytest.mark.parametrize("place", ["a mount", "the folder to work in"])
@pytest.mark.parametrize("below", ["", "far", "far/0000/another", "far/0000/another/far.sh"])
def test_nothing_in_the_folder_of_sessions_there_is_mounted(
    docker: Engine, ssh: SSH, another: str, below: str, place: str
) -> None:
    is_mount = place == "a mount"
    if below.endswith(".sh") and not is_mount:
        below = "far/0000/another/"
    source = f"{another.partition('/far/')[0]}/{below}"
    claude = MPMOrchestrator(
        environment=Docker(
            docker.image, network="none", mounts=f"{source}:/held" if is_mount else (), inside=ssh
        ),
        session_id="s", claude_path="/bin/sh", cwd=None if is_mount else source,
    )  # fmt: skip
    with pytest.raises(LaunchError, match="is not mounted, as sessions are kept there"):
        claude.start_or_raise()
    claude.stop()


@pytest.mark.parametrize("place", ["a mount", "the folder to work in"])
def test_the_folder_of_sessions_there_is_empty_inside_a_home(
    docker: Engine, ssh: SSH, another: str, place: str
) -> None:
    home, ours = far_home(ssh), another.partition("/far/")[0]
    is_mount = place == "a mount"
    mounts = [f"{home}:/held"] if is_mount else []
    container = Docker(docker.image, network="none", mounts=mounts, inside=ssh)
    folder = f"/held{ours[len(home) :]}" if is_mount else ours
    found = seen(container, folder, cwd=None if is_mount else home)
    # What the session itself needs is shown on its way there.
    assert [each for each in found if "another" in each or each == "made"] == []
    beside = seen(container, folder.removesuffix("/claude-mpm"), cwd=None if is_mount else home)
    assert folder in beside, "the home itself is shown"
