"""What the tests of the commands share: calling one in this process, and sessions to look at."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from claude_mpm.cli.main import main
from claude_mpm.journal.layout import Meta, SessionFolder
from claude_mpm.sessions.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Ended(NamedTuple):
    status: Any
    out: str
    err: str

    @property
    def rows(self) -> list[list[str]]:
        """The rows of a table without its head."""
        return [line.split("\t") for line in self.out.splitlines()[1:]]

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def call(capsys: pytest.CaptureFixture[str], *words: str | Path) -> Ended:
    """Call `claude-mpm` in this process."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return Ended(ended.value.code, *capsys.readouterr())


def make_session(name: str, lines: Iterable[Any], cwd: str = "/work") -> SessionFolder:
    """Make the folder of a session that has ended, with these events in its journal."""
    folder = Store().folder(name)
    folder.create()
    folder.write_meta(
        Meta(
            session_id=name, claude_session_id=name, orchestrator="local", environment="local",
            wire="stream-json", cwd=cwd, created_at=0.0,
        )
    )  # fmt: skip
    folder.journal.path.write_bytes(journal(lines))
    folder.exit_file.path.write_text("0\n")
    return folder


def journal(lines: Iterable[Any]) -> bytes:
    """Return events as a journal; a text is something that the assistant says."""
    events = (said(line) if isinstance(line, str) else line for line in lines)
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def said(text: str) -> dict[str, Any]:
    return {"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}}


def agent_call(key: str, agent: str, task: str) -> dict[str, Any]:
    called = {"subagent_type": agent, "description": task, "prompt": f"{task}, please"}
    block = {"type": "tool_use", "id": key, "name": "Agent", "input": called}
    return {
        "type": "assistant", "message": {"content": [block]},
        "timestamp": "2026-01-01T10:00:00Z",
    }  # fmt: skip


def agent_result(key: str, text: str) -> dict[str, Any]:
    block = {"type": "tool_result", "tool_use_id": key, "content": text}
    return {
        "type": "user", "message": {"role": "user", "content": [block]},
        "timestamp": "2026-01-01T10:00:07Z",
    }  # fmt: skip
