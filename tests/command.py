"""The command `claude-mpm` as its users run it: in a process of its own, which can be killed."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claude_mpm.journal.layout import SessionFolder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_mpm.testing import ScriptedModel

PROGRAM = Path(sys.executable).parent / "claude-mpm"
SECONDS = 60.0


class Command:
    """Runs `claude-mpm` with the scripted model, in one state folder."""

    def __init__(self, model: ScriptedModel, home: Path, claude_path: str) -> None:
        self.state = home / "state"
        self.environ = model.environment(
            home,
            PATH=os.environ["PATH"],
            CLAUDE_PATH=claude_path,
            CLAUDE_MPM_STATE_DIR=str(self.state),
        )
        self._started: list[subprocess.Popen[str]] = []

    def __call__(
        self, *words: str, status: int | None = 0, input: str = "", **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; fail where its exit status is not `status`."""
        done = subprocess.run(
            [PROGRAM, *words],
            env={**self.environ, **environ},
            input=input,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert status in (None, done.returncode), f"{done.returncode}: {done.stderr}"
        return done

    def json(self, *words: str) -> Any:
        """Run a command with `--json` and return what it prints."""
        return json.loads(self(*words, "--json").stdout)

    def start(self, *words: str, **environ: str) -> subprocess.Popen[str]:
        """Start a command, with its standard output in a pipe."""
        process = subprocess.Popen(
            [PROGRAM, *words],
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def sessions(self) -> list[SessionFolder]:
        """Return the folders of all sessions."""
        return [SessionFolder(path) for path in sorted((self.state / "sessions").iterdir())]

    def session(self) -> SessionFolder:
        """Return the only session."""
        (folder,) = self.sessions()
        return folder

    def close(self) -> None:
        """End what is still running."""
        for process in self._started:
            process.kill()
            process.communicate()
        begun = self.sessions() if (self.state / "sessions").exists() else []
        if not all(folder.exit_file.exists() for folder in begun):
            self("stop", "--all", status=None)


def said_in(folder: SessionFolder) -> str:
    """Return the assistant's text as it stands in a journal, by a way of its own."""
    said = []
    for line in folder.journal.path.read_bytes().splitlines():
        event = json.loads(line)
        if event["type"] == "assistant" and not event.get("parent_tool_use_id"):
            blocks = event["message"]["content"]
            said += [block["text"] + "\n" for block in blocks if block["type"] == "text"]
    return "".join(said)


def wait_until_gone(pids: Sequence[int]) -> None:
    """Wait until none of the processes is there; fail after a while."""
    for pid in pids:
        with suppress(ProcessLookupError):
            end = os.pidfd_open(pid)
            try:
                ready, _, _ = select.select([end], [], [], SECONDS)
            finally:
                os.close(end)
            assert ready, f"process {pid} is left"
