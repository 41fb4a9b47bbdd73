"""The real Claude Code as an MCP client: it has a second one do something, and steers it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claude_mpm.cli.mcp_tools import LONGEST_CALL
from claude_mpm.sessions.store import Store
from claude_mpm.testing import Call

if TYPE_CHECKING:
    from claude_mpm.testing import Request, ScriptedModel
    from real_places import Engine

SECONDS = 100.0
START = "from claude_mpm.cli.main import main; main()"


def result_of(request: Request) -> dict[str, Any]:
    """Return what the last tool said."""
    value: dict[str, Any] = json.loads(request.tool_results[-1].text)
    return value


def steer(
    model: ScriptedModel, claude_path: str, tmp_path: Path, *words: str, **environ: str
) -> dict[str, Any]:
    """Let a Claude start a second one, answer its question, read its answer and stop it.

    Args:
        words: the options of `claude-mpm mcp`.
        environ: further variables of the server.

    Returns:
        What the second Claude asked and answered, and the longest that a call took, in seconds.
    """
    target = Path("out.txt").absolute()
    model.on("write it", Call("Write", file_path=str(target), content="written"), "It is written.")
    known: dict[str, Any] = {"longest": 0.0, "at": time.monotonic()}

    def note(request: Request) -> dict[str, Any]:
        known["longest"] = max(known["longest"], time.monotonic() - known["at"])
        return result_of(request)

    def call(tool: str, **arguments: Any) -> Call:
        known["at"] = time.monotonic()
        return Call(f"mcp__mpm__{tool}", **arguments)

    def wait(request: Request) -> Call:
        known.setdefault("session", note(request).get("session"))
        return call("wait", session=known["session"], seconds=30)

    def answer(request: Request) -> Call:
        (known["asked"],) = note(request)["questions"]
        question = known["asked"]["question"]
        return call("answer", session=known["session"], question=question, decision="allow")

    def stop(request: Request) -> Call:
        known["answer"] = note(request)["turn"]["text"]
        return call("stop", session=known["session"])

    start = Call("mcp__mpm__start", prompt="write it")
    waits = [wait] * 6  # each is bounded; one that has nothing to wait for answers at once
    model.on("have it done", start, *waits, answer, *waits, stop, "All done.")
    environ = model.environment(
        tmp_path / "inner", CLAUDE_MPM_STATE_DIR=str(tmp_path / "state"), **environ
    )
    command = {"command": sys.executable, "args": ["-c", START, "mcp", *words], "env": environ}
    servers = json.dumps({"mcpServers": {"mpm": command}})
    done = subprocess.run(
        [claude_path, "-p", "have it done", "--allowedTools", "mcp__mpm", "--mcp-config", servers],
        # By default, it goes on without the tools of a server that takes five seconds to begin.
        env=model.environment(
            tmp_path / "outer", MCP_CONNECT_TIMEOUT_MS="60000", MCP_CONNECTION_NONBLOCKING="0"
        ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.stdout.strip() == "All done.", (done, known)
    assert known["asked"]["tool"] == "Write"
    assert known["asked"]["input"]["file_path"] == str(target)
    assert known["answer"] == "It is written."
    assert target.read_text() == "written"
    assert known["longest"] < LONGEST_CALL + 5
    return known


def test_a_claude_starts_another_one_answers_its_question_and_stops_it(
    model: ScriptedModel, claude_path: str, tmp_path: Path
) -> None:
    steer(model, claude_path, tmp_path, CLAUDE_PATH=claude_path)
    with closing(Store(tmp_path / "state")) as store:
        assert all(folder.has_ended() for folder in store.sessions())


def test_a_claude_has_another_one_work_in_a_container(
    model: ScriptedModel, claude_path: str, tmp_path: Path, docker: Engine
) -> None:
    if os.geteuid() == 0:
        os.chown(".", 4242, 4242)
    config = tmp_path / "inner" / ".config" / "claude-mpm"
    config.mkdir(parents=True)
    mounts = f"{docker.claude}:/usr/local/bin/claude:ro"
    (config / "settings.toml").write_text(
        "[places.box]\norchestrator = 'docker'\n[places.box.options]\n"
        f"image = '{docker.image}'\nnetwork = 'host'\nmounts = '{mounts}'\n"
    )
    known = steer(
        model, claude_path, tmp_path, "--place", "box", PATH=os.environ["PATH"],
        DOCKER_HOST=docker.host,
    )  # fmt: skip
    with closing(Store(tmp_path / "state")) as store:
        folder = store.find(known["session"])
        assert folder.has_ended()
        assert (folder.read_meta().orchestrator, folder.read_meta().environment) == (
            "docker", "docker",
        )  # fmt: skip
