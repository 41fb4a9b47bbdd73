"""The real Claude Code as an MCP client: it has a second one do something, and steers it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claude_mpm.sessions.store import Store
from claude_mpm.testing import Call

if TYPE_CHECKING:
    from claude_mpm.testing import Request, ScriptedModel

SECONDS = 100.0
START = "from claude_mpm.cli.main import main; main()"


def result_of(request: Request) -> dict[str, Any]:
    """Return what the last tool said."""
    value: dict[str, Any] = json.loads(request.tool_results[-1].text)
    return value


def test_a_claude_starts_another_one_answers_its_question_and_stops_it(
    model: ScriptedModel, claude_path: str, tmp_path: Path
) -> None:
    target = Path("out.txt").absolute()
    model.on("write it", Call("Write", file_path=str(target), content="written"), "It is written.")
    known: dict[str, Any] = {}

    def wait(request: Request) -> Call:
        known.setdefault("session", result_of(request).get("session"))
        return Call("mcp__mpm__wait", session=known["session"], seconds=30)

    def answer(request: Request) -> Call:
        (question,) = result_of(request)["questions"]
        known["asked"] = question
        return Call(
            "mcp__mpm__answer",
            session=known["session"],
            question=question["question"],
            decision="allow",
        )

    def stop(request: Request) -> Call:
        known["answer"] = result_of(request)["turn"]["text"]
        return Call("mcp__mpm__stop", session=known["session"])

    model.on("have it done", Call("mcp__mpm__start", prompt="write it"), wait, answer, wait, stop,
             "All done.")  # fmt: skip
    state = tmp_path / "state"
    environ = model.environment(
        tmp_path / "inner", CLAUDE_MPM_STATE_DIR=str(state), CLAUDE_PATH=claude_path
    )
    command = {"command": sys.executable, "args": ["-c", START, "mcp"], "env": environ}
    servers = json.dumps({"mcpServers": {"mpm": command}})
    done = subprocess.run(
        [claude_path, "-p", "have it done", "--allowedTools", "mcp__mpm", "--mcp-config", servers],
        env=model.environment(tmp_path / "outer"),
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
    assert all(folder.has_ended() for folder in Store(state).sessions())
