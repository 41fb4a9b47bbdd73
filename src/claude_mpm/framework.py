"""The framework: the instructions and the agents that Claude is started with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from claude_mpm.agent_file import Agent, agents_json, read_agent
from claude_mpm.checks import is_folder, read_text
from claude_mpm.errors import FrameworkError

if TYPE_CHECKING:
    import os

__all__ = ["Agent", "Framework", "FrameworkLoader", "agents_json"]

INSTRUCTIONS = "INSTRUCTIONS.md"
PACKAGED_DEFAULT = "packaged default"
_DEFAULT = Path(__file__).parent / "default_framework"


@dataclass(frozen=True)
class Framework:
    """Instructions and agents that were read together and checked.

    `sha256` is over both, and not over where they came from.
    """

    instructions: str
    agents: tuple[Agent, ...]
    sha256: str
    source: str  # a path, "packaged default" or "none"
    agents_source: str = ""  # the path of the agents that were added


class FrameworkLoader:
    """Finds, reads and checks a framework.

    `framework_path` is a file, or a folder with `INSTRUCTIONS.md` and perhaps `agents/*.md`;
    without it the packaged default is taken. The agents of `agents_dir` are added, and replace
    those of the same name. `enabled=False` leaves out the framework, but not `agents_dir`.

    Relative paths are those of the current folder when the loader is made. Nothing is read before
    it is asked for, and all is read again each time, so that an edited file takes effect.
    """

    def __init__(
        self,
        framework_path: str | os.PathLike[str] | None = None,
        agents_dir: str | os.PathLike[str] | None = None,
        *,
        enabled: bool = True,
    ) -> None:
        self.framework_path = _absolute(framework_path, "framework")
        self.agents_dir = _absolute(agents_dir, "folder of agents")
        self.enabled = enabled

    @property
    def source(self) -> str:
        """Where the instructions come from: a path, "packaged default" or "none"."""
        if not self.enabled:
            return "none"
        return str(self.framework_path or PACKAGED_DEFAULT)

    def get_framework_instructions(self) -> str:
        """Return the text for Claude, which is empty only where the framework is switched off.

        Raises FrameworkError where the text is missing, empty, unreadable or not UTF-8.
        """
        if not self.enabled:
            return ""
        path, missing = self._base, "name the file of a framework, or its folder"
        if is_folder(path):
            path, missing = path / INSTRUCTIONS, "a framework's folder needs one; write it"
        text = read_text(path, FrameworkError, missing)
        if not text.strip():
            raise FrameworkError(f"{path}: the file is empty; write the instructions for Claude")
        return text

    def load(self) -> Framework:
        """Read everything again and check it.

        Raises FrameworkError, in one line that names the file and, where there is one, the line.
        """
        instructions = self.get_framework_instructions()
        agents = {agent.name: agent for agent in self._framework_agents()}
        if self.agents_dir:
            agents |= {agent.name: agent for agent in _read_agents(self.agents_dir, required=True)}
        ordered = tuple(agents[name] for name in sorted(agents))
        digest = hashlib.sha256(instructions.encode())
        digest.update(b"\0" + agents_json(ordered))
        added = str(self.agents_dir or "")
        return Framework(instructions, ordered, digest.hexdigest(), self.source, added)

    @property
    def _base(self) -> Path:
        return self.framework_path or _DEFAULT

    def _framework_agents(self) -> list[Agent]:
        if not self.enabled or not is_folder(self._base):
            return []
        return _read_agents(self._base / "agents", required=False)


def _absolute(path: str | os.PathLike[str] | None, what: str) -> Path | None:
    if path is None:
        return None
    if not str(path):
        raise FrameworkError(f"the path of the {what} is empty; name one, or leave it out")
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as problem:
        raise FrameworkError(f"{path}: there is no such home folder; check the path") from problem


def _read_agents(folder: Path, *, required: bool) -> list[Agent]:
    agents: dict[str, Agent] = {}
    for path in _agent_files(folder, required=required):
        agent = read_agent(path, agents)
        agents[agent.name] = agent
    if required and not agents:
        raise FrameworkError(f"{folder}: no agent file (*.md) in the folder; write one in it")
    return list(agents.values())


def _agent_files(folder: Path, *, required: bool) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except FileNotFoundError as problem:
        if not required:
            return []
        raise FrameworkError(f"{folder}: there is no such folder; check the path") from problem
    except NotADirectoryError as problem:
        raise FrameworkError(f"{folder}: not a folder; name the one with the *.md") from problem
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise FrameworkError(f"{folder}: cannot be read ({reason}); mend it") from problem
    # Hidden files are what editors and file systems leave behind.
    return [path for path in entries if path.suffix == ".md" and path.name[0] != "."]
