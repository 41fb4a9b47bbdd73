"""Where a scenario takes place: a state folder, a home, and a Claude that can be killed."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from claude_mpm.claude_binary import find_claude
from claude_mpm.sessions.store import Store
from claude_mpm.testing.script import Call, Say
from claude_mpm.testing.scripted_model import ScriptedModel

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.testing.request import Request
    from claude_mpm.testing.script import Script

PROMPTS = 5  # in each conversation that is disturbed
_DEAF = "setsid sh -c \"trap '' TERM INT HUP; while :; do sleep 60 & wait; done\""
GO_ON = "Continue from where you left off"


class World(ABC):
    """A folder with all that a scenario leaves behind; it goes at the end, unless it is kept.

    Attributes:
        kind: what plays Claude.
        path: the folder.
        keep: whether it stays, to be looked at.
    """

    kind = ""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="mpm-chaos-"))
        self.keep = False

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the folder."""
        if not self.keep:
            shutil.rmtree(self.path, ignore_errors=True)

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.path / "state"

    def folder(self, session: str) -> SessionFolder:
        """Return the folder of a session."""
        return Store(self.state).folder(session)

    def cwd(self, session: str) -> Path:
        """Return the folder that a session works in; it is made where it is missing."""
        folder = self.path / "work" / session
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def options(self, session: str) -> dict[str, Any]:
        """Return the options of an orchestrator for a session of this world."""
        return {
            "session_id": session,
            "state_dir": str(self.state),
            "cwd": str(self.cwd(session)),
            "environ": self.environ(),
            "claude_path": self.claude(),
            "use_framework": False,
            "linger": 60.0,
        }

    @abstractmethod
    def environ(self) -> dict[str, str]:
        """Return Claude's environment."""

    @abstractmethod
    def claude(self) -> str:
        """Return the path of what plays Claude."""


class StandInWorld(World):
    """Here a stand-in plays Claude: it starts ten times as fast."""

    kind = "stand-in"

    def environ(self) -> dict[str, str]:
        """Return a small environment."""
        home = self.path / "home"
        (home / "tmp").mkdir(parents=True, exist_ok=True)
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(home),
            "CLAUDE_CONFIG_DIR": str(home / ".claude"),
            "CLAUDE_CODE_TMPDIR": str(home / "tmp"),
        }

    def claude(self) -> str:
        """Return the stand-in's path."""
        program = self.path / "claude"
        if not program.exists():
            script = Path(__file__).with_name("stand_in.py")
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I "{script}" "$@"\n')
            program.chmod(0o700)
        return str(program)


class RealWorld(World):
    """Here it is the real Claude Code; its model plays a script.

    Attributes:
        model: the script can be added to.
    """

    kind = "Claude Code"

    def __init__(self) -> None:
        super().__init__()
        self.model = ScriptedModel()
        for number in range(PROMPTS):
            self.model.on(f"step {number}", *_step(number))
        self.model.on(GO_ON, _go_on)
        self.model.on("stream", Say("line\n" * 10_000, chunk=5, delay=0.02))
        self.model.on("tool", Call("Bash", command=_DEAF), "It ended.")
        self.model.on("background", Call("Bash", command=f"{_DEAF} & disown"), "It runs.")
        self.model.on("ask", Call("Write", file_path="asked", content="x"), "Written.")

    def __enter__(self) -> Self:
        """Start the model."""
        self.model.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the model."""
        self.model.stop()
        super().__exit__()

    def environ(self) -> dict[str, str]:
        """Return the environment of a Claude that talks to the model alone."""
        return self.model.environment(self.path / "home")

    def claude(self) -> str:
        """Return the path of the one that is installed."""
        return str(find_claude())

    def options(self, session: str) -> dict[str, Any]:
        """Let Claude run the commands of the script."""
        rules = ["Bash"]
        return {**super().options(session), "claude_args": [f"--allowedTools={','.join(rules)}"]}


def _step(number: int) -> tuple[Any, ...]:
    answer = f"Answer {number}\nTODO: Do thing {number}\nend {number}"
    command = Call("Bash", command=f"echo {number} >>ran")
    return (f"Looking {number}.", command, Say(answer, chunk=5, delay=0.01))


def _go_on(request: Request) -> Script:
    """Return the rest of a turn that Claude did not live to end, as far as Claude remembers it."""
    said = str(request.messages)
    found = re.findall(r"step (\d+)", said)
    if not found:
        return "There is nothing to go on with."
    number = int(found[-1])
    looking, command, answer = _step(number)
    return (answer,) if f"echo {number} >>ran" in said else (looking, command, answer)


def worlds(number: int, share: float) -> list[tuple[type[World], int]]:
    """Return how many of a number of cases take place where: a share with the real Claude Code."""
    real = max(1, round(number * share)) if share else 0
    return [(StandInWorld, number - real), (RealWorld, real)]
