"""A batch over real places at once: each check runs where its session is, each checkout as well."""

from __future__ import annotations

import asyncio
import os
import secrets
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.environments.ssh import SSH
from claude_mpm.fleet.batch import Batch
from claude_mpm.fleet.places import Place
from claude_mpm.fleet.reach import reach_places
from claude_mpm.fleet.task import Outcome
from shell_claude import CLAUDE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from claude_mpm.fleet.task import Result
    from real_places import Engine, SSHServer


@pytest.fixture
def claude_here(tmp_path: Path) -> Path:
    file = tmp_path / "shell-claude"
    file.write_text(CLAUDE)
    file.chmod(0o755)
    return file


@pytest.fixture
def far(sshd: SSHServer) -> Iterator[Place]:
    """The host, with a folder of its own for this test."""
    host = SSH(sshd.host, config=sshd.config)
    folder = f"batch-{secrets.token_hex(4)}"
    make = 'mkdir "$0" && cd "$0" && cat >claude && chmod 755 claude && pwd'
    path = host.run(["sh", "-c", make, folder], data=CLAUDE.encode()).decode().strip()
    options = {"host": sshd.host, "config": sshd.config, "cwd": path}
    options["claude_path"] = f"{path}/claude"
    yield Place(name="far", orchestrator="ssh", at_once=2, options=options)
    host.run(["rm", "-rf", path])


def run(tasks: Any, places: list[Place], **options: Any) -> dict[str, Result]:
    async def follow() -> dict[str, Result]:
        batch = Batch(tasks, places, options={"use_framework": False, **options}, attempts=1)
        async with asyncio.timeout(100), batch:
            return {result.task: result async for result in batch}

    return asyncio.run(follow())


def test_each_check_runs_where_its_session_is(
    docker: Engine, far: Place, claude_here: Path
) -> None:
    if os.geteuid() == 0:
        os.chown(".", 4242, 4242)
    mount = f"{claude_here}:/usr/local/bin/claude:ro"
    inside = {"image": docker.image, "network": "none", "mounts": [mount], "claude_path": "claude"}
    container = Place(name="box", orchestrator="docker", at_once=2, options=inside)
    here = Place(name="here", at_once=1, options={"claude_path": str(claude_here)})
    assert all(answer.ok for answer in reach_places([here, far, container], patience=60))
    check = 'test -f ran && echo "$(id -u)@$(uname -n)"; exit 3'
    results = run([{"prompt": "x", "check": check} for _ in range(7)], [here, far, container])
    assert {result.outcome for result in results.values()} == {Outcome.FAILED}
    assert {result.check for result in results.values()} == {3}
    said = {result.place: result.reason.rpartition(": ")[2] for result in results.values()}
    assert said.keys() == {"here", "far", "box"}
    assert said["here"] == f"{os.geteuid()}@{os.uname().nodename}"
    assert said["far"].endswith(f"@{os.uname().nodename}")  # another account of this machine
    assert said["far"] != said["here"]
    assert not said["box"].endswith(f"@{os.uname().nodename}")


def test_a_checkout_is_made_where_the_task_runs(sshd: SSHServer, far: Place) -> None:
    host, root = SSH(sshd.host, config=sshd.config), far.options["cwd"]
    make = (
        'cd "$0" && mkdir shop && cd shop && git init -q -b main . && echo a >a && git add a &&'
        " git -c user.name=t -c user.email=t@localhost commit -qm first"
    )
    host.run(["sh", "-c", make, root])
    task = {"id": "a", "repository": f"{root}/shop", "worktree": True, "check": ["test", "-f", "a"]}
    (result,) = run([{"prompt": "x", **task}], [far]).values()
    assert result.ok, result
    shown = host.run(["git", "-C", f"{root}/shop", "show", f"{result.branch}:ran"])
    assert shown == b"x\n"
    assert host.run(["git", "-C", f"{root}/shop", "status", "--porcelain"]) == b""
