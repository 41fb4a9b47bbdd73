"""Sessions of another machine in real places: an sshd, a container engine, a server."""

from __future__ import annotations

import json
import os
import secrets
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from calls import call
from chaos.world import StandInWorld
from claude_mpm import create_orchestrator
from claude_mpm.environments.ssh import SSH
from claude_mpm.fleet import elsewhere
from claude_mpm.sessions.store import Store
from command import SECONDS, wait_until_gone
from served import Served
from shell_claude import CLAUDE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from real_places import Engine, SSHServer

    Capture = pytest.CaptureFixture[str]


@pytest.fixture
def near(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder of the machine that commands are run on."""
    monkeypatch.setenv("CLAUDE_MPM_STATE_DIR", str(tmp_path / "near"))
    monkeypatch.setattr(elsewhere, "PATIENCE", SECONDS)  # the machine may be busy
    return tmp_path / "near"


def name_place(home: Path, name: str, orchestrator: str, **options: Any) -> None:
    file = home / ".config" / "claude-mpm" / "settings.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{key} = {json.dumps(value)}" for key, value in options.items()]
    head = [f"[places.{name}]", f"orchestrator = {json.dumps(orchestrator)}"]
    file.write_text("\n".join([*head, f"[places.{name}.options]", *lines]) + "\n")


def follow_and_stop(capsys: Capture, near: Path, other: Path, session: str) -> None:
    """Follow a session of another machine from here, give it a prompt, and end it."""
    # Others may have sessions there at the same time.
    rows = {row["session"]: row for row in call(capsys, "ps", "--everywhere", "--json").json}
    assert rows[session]["state"] == "idle"
    followed = call(capsys, "attach", "--everywhere", session[:8])
    assert followed.status == 0, followed.err
    sent = call(capsys, "send", session[:8], "from here")
    assert sent.status == 0, sent.err
    assert call(capsys, "wait", session[:8]).status == 0
    here, there = (Store(state).folder(session) for state in (near, other))
    links = [pids[0] for pids in (here.pids(), there.pids()) if pids]
    stopped = call(capsys, "stop", session[:8])
    assert stopped.status == 0, stopped.err
    wait_until_gone(links)
    assert here.journal.path.read_bytes() == there.journal.path.read_bytes()
    rows = {row["session"]: row for row in call(capsys, "ps", "--on", "place", "--json").json}
    assert (rows[session]["state"], rows[session]["place"]) == ("ended", "place")


@pytest.fixture
def far_claude(sshd: SSHServer) -> Iterator[str]:
    """What plays Claude on the host."""
    host = SSH(sshd.host, config=sshd.config)
    make = 'mkdir "$0" && cd "$0" && cat >claude && chmod 755 claude && pwd'
    folder = f"elsewhere-{secrets.token_hex(4)}"
    path = host.run(["sh", "-c", make, folder], data=CLAUDE.encode()).decode().strip()
    yield f"{path}/claude"
    host.run(["rm", "-rf", path])


def test_a_session_on_a_host(
    sshd: SSHServer, far_claude: str, near: Path, home: Path, tmp_path: Path, capsys: Capture
) -> None:
    name_place(home, "place", "ssh", host=sshd.host, config=sshd.config)
    session, other = str(uuid.uuid4()), tmp_path / "other"
    claude = create_orchestrator(
        "ssh", host=sshd.host, config=sshd.config, claude_path=far_claude, session_id=session,
        state_dir=str(other), use_framework=False, cwd=str(Path(far_claude).parent), linger=600.0,
    )  # fmt: skip
    claude.start_or_raise()
    claude.ask("hello").wait(SECONDS)
    claude.detach()
    follow_and_stop(capsys, near, other, session)


def test_a_session_at_a_server(near: Path, home: Path, tmp_path: Path, capsys: Capture) -> None:
    with StandInWorld() as world:
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8"}
        served = Served({**environ, "CLAUDE_PATH": world.claude()}, tmp_path / "served")
        token, stranger = served.token(), served.token("stranger")
        served.start("--root", str(Path.cwd()))
        try:
            session, other = str(uuid.uuid4()), tmp_path / "other"
            options = {"address": served.address, "tls": False}
            claude = create_orchestrator(
                "remote", token=token, session_id=session, state_dir=str(other),
                use_framework=False, linger=600.0, **options,
            )  # fmt: skip
            claude.start_or_raise()
            claude.ask("hello").wait(SECONDS)
            claude.detach()
            name_place(home, "place", "remote", token=stranger, **options)
            assert call(capsys, "ps", "--everywhere", "--json").json == []
            name_place(home, "place", "remote", token=token, **options)
            follow_and_stop(capsys, near, other, session)
            assert list((tmp_path / "served" / "sessions").iterdir()) == []
        finally:
            served.close()


def test_a_session_in_a_container_says_where_it_is_kept(
    docker: Engine, near: Path, home: Path, tmp_path: Path, capsys: Capture
) -> None:
    program = tmp_path / "shell-claude"
    program.write_text(CLAUDE)
    program.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(".", 4242, 4242)
    options = {
        "image": docker.image,
        "network": "none",
        "mounts": [f"{program}:/usr/local/bin/claude:ro"],
        "claude_path": "claude",
    }
    name_place(home, "place", "docker", **options)
    session, other = str(uuid.uuid4()), tmp_path / "other"
    claude = create_orchestrator(
        "docker", session_id=session, state_dir=str(other), use_framework=False, **options
    )
    with claude:
        claude.ask("hello").wait(SECONDS)
        rows = {r["session"]: r for r in call(capsys, "ps", "--everywhere", "--json").json}
        assert rows[session]["state"] == "idle"
        refused = call(capsys, "attach", "--everywhere", session)
        assert refused.status == 2
        assert f"CLAUDE_MPM_STATE_DIR={other} claude-mpm attach {session[:8]}" in refused.err
    left = {row["session"] for row in call(capsys, "ps", "--everywhere", "--json").json}
    assert session not in left
