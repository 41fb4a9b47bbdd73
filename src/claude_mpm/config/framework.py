"""The framework: the instructions and the agents that Claude is started with."""

from __future__ import annotations

import hashlib
import logging
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from claude_mpm.config.agent_file import Agent, AgentFile, agents_json, read_agent
from claude_mpm.config.framework_imports import Imports
from claude_mpm.config.trust import is_trusted, real
from claude_mpm.errors import FrameworkError, SettingsError
from claude_mpm.validation import is_folder, read_text

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

__all__ = ["Agent", "Framework", "FrameworkLoader", "agents_json"]

INSTRUCTIONS = "INSTRUCTIONS.md"
PACKAGED_DEFAULT = "packaged default"
_MOST_ENTRIES = 10_000  # in a folder of agents, with all below it
# What an agent that an untrusted project names may have beside its words, tools and model.
_WITHOUT_POWER = frozenset({"disallowedTools", "color", "maxTurns", "effort"})
_logger = logging.getLogger(__name__)
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
    notes: tuple[str, ...] = ()  # what was passed over, a line each


class FrameworkLoader:
    """Finds, reads and checks a framework.

    `framework_path` is a file, or a folder with `INSTRUCTIONS.md` and perhaps `agents/*.md`;
    without it the packaged default is taken. The agents of `agents_dir` are added, and replace
    those of the same name. `enabled=False` leaves out the framework, but not `agents_dir`.

    `confined_to` is the folder of a project whose own settings name one of the two. As long as it
    is not trusted, no link may lead out of it, and its agents have no hooks, servers or modes of
    their own: a `SettingsError` names the file and the line.

    Relative paths are those of the current folder when the loader is made. Nothing is read before
    it is asked for, and all is read again each time, so that an edited file takes effect. What is
    passed over is said once, as a warning of the logger `claude_mpm.config.framework`.
    """

    def __init__(
        self,
        framework_path: str | os.PathLike[str] | None = None,
        agents_dir: str | os.PathLike[str] | None = None,
        *,
        enabled: bool = True,
        confined_to: str | os.PathLike[str] | None = None,
    ) -> None:
        self.framework_path = _absolute(framework_path, "framework")
        self.agents_dir = _absolute(agents_dir, "folder of agents")
        self.enabled = enabled
        self._confined_to = Path(confined_to) if confined_to else None
        self._said: set[str] = set()

    @property
    def source(self) -> str:
        """Where the instructions come from: a path, "packaged default" or "none"."""
        if not self.enabled:
            return "none"
        return str(self.framework_path or PACKAGED_DEFAULT)

    def get_framework_instructions(self) -> str:
        """Return the text for Claude, which is empty only where the framework is switched off.

        What the file imports with `@path` stands behind its own text.

        Raises FrameworkError where the text is missing, empty, unreadable or not UTF-8.
        """
        return self._instructions()[0]

    def load(self) -> Framework:
        """Read everything again and check it.

        Raises FrameworkError, with a line for each mistake that names the file and, where there is
        one, the line.
        """
        instructions, notes = self._instructions()
        errors: list[str] = []
        agents: dict[str, Agent] = {}
        for folder, required in self._folders_of_agents():
            read, missing = _read_folder(folder, required=required)
            self._check_power(folder, read)
            agents |= {each.agent.name: each.agent for each in read if each.agent}
            errors += missing
            errors += [line for each in read for line in each.errors]
            notes += [line for each in read for line in each.notes]
        self._say(notes)
        if errors:
            raise FrameworkError("\n".join(errors))
        ordered = tuple(agents[name] for name in sorted(agents))
        digest = hashlib.sha256(instructions.encode())
        digest.update(b"\0" + agents_json(ordered))
        added = str(self.agents_dir or "")
        sha256 = digest.hexdigest()
        return Framework(instructions, ordered, sha256, self.source, added, tuple(notes))

    @property
    def _base(self) -> Path:
        return self.framework_path or _DEFAULT

    def _instructions(self) -> tuple[str, list[str]]:
        """Return the text for Claude, and what it imports that was not followed."""
        if not self.enabled:
            return "", []
        path, missing = self._base, "name the file of a framework, or its folder"
        if is_folder(path):
            path, missing = path / INSTRUCTIONS, "a framework's folder needs one; write it"
        if project := self._untrusted(path):
            _check_inside(path, project)
        text = read_text(path, FrameworkError, missing)
        if not text.strip():
            raise FrameworkError(f"{path}: the file is empty; write the instructions for Claude")
        imports = Imports(path.parent)
        return imports.follow(path, text), imports.notes

    def _folders_of_agents(self) -> Iterator[tuple[Path, bool]]:
        """Yield the folders of agents, and whether each must have some; later ones win."""
        if self.enabled and is_folder(self._base):
            yield self._base / "agents", False
        if self.agents_dir:
            yield self.agents_dir, True

    def _untrusted(self, path: Path) -> Path | None:
        """Return the project that names a path and is not trusted; None for the user."""
        project = self._confined_to
        if project and path.is_relative_to(project) and not is_trusted(project):
            return project
        return None

    def _check_power(self, folder: Path, read: Iterable[AgentFile]) -> None:
        """Refuse agents that give an untrusted project power over what is run or permitted."""
        project = self._untrusted(folder)
        if project is None:
            return
        for each in read:
            _check_inside(each.path, project)
            given = each.agent.options.keys() if each.agent else set()
            for key in sorted(given - _WITHOUT_POWER, key=each.lines.__getitem__):
                raise SettingsError(
                    f"{each.path}, line {each.lines[key]}: `{key}` gives an agent of the project"
                    " power over what is run or permitted; remove it, or trust the folder:"
                    f" claude-mpm trust {shlex.quote(str(project))}"
                )

    def _say(self, notes: Iterable[str]) -> None:
        for note in notes:
            if note not in self._said:
                self._said.add(note)
                _logger.warning("%s", note)


def _check_inside(path: Path, project: Path) -> None:
    """Refuse a file of an untrusted project that is none: any file of the user's could be it."""
    if not real(path).is_relative_to(real(project)):
        raise SettingsError(
            f"{path}: leads out of the project, whose settings name it; put the file there, or"
            f" trust the folder: claude-mpm trust {shlex.quote(str(project))}"
        )


def _absolute(path: str | os.PathLike[str] | None, what: str) -> Path | None:
    if path is None:
        return None
    if not str(path):
        raise FrameworkError(f"the path of the {what} is empty; name one, or leave it out")
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as problem:
        raise FrameworkError(f"{path}: there is no such home folder; check the path") from problem


def read_agents(folder: Path) -> list[AgentFile]:
    """Return what each file of a folder of agents holds.

    Raises OSError where the folder cannot be read.
    """
    names: dict[str, Path] = {}
    return [_read_one(path, names) for path in _agent_files(folder)]


def _read_folder(folder: Path, *, required: bool) -> tuple[list[AgentFile], list[str]]:
    """Return what the files of a folder hold, and what is wrong with the folder itself."""
    found: list[AgentFile] = []
    try:
        found = read_agents(folder)
    except FileNotFoundError as problem:
        if folder.is_symlink():
            return found, [f"{folder}: a link that leads nowhere; mend or remove it"]
        missing = f"{folder}: there is no such folder; check the path"
        return found, [missing] if required or problem.filename != str(folder) else []
    except NotADirectoryError:
        return found, [f"{folder}: not a folder; name the one with the *.md"]
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        where = getattr(problem, "filename", None) or folder
        return found, [f"{where}: cannot be read ({reason}); mend it"]
    if required and not any(each.agent or each.errors for each in found):
        return found, [f"{folder}: no agent file (*.md) in the folder; write one in it"]
    return found, []


def _read_one(path: Path, names: dict[str, Path]) -> AgentFile:
    """Read a file of a folder, whose name must not be one of those that were read before."""
    if path.suffix != ".md" or path.name.startswith("."):
        what = "hidden" if path.name.startswith(".") else "Claude reads *.md alone"
        return AgentFile(path, notes=[f"{path}: passed over: {what}"])
    read = read_agent(path)
    if read.agent is not None:
        first = names.setdefault(read.agent.name, path)
        if first != path:
            name = read.agent.name
            read.fail(read.name_line, f"{first} has the name {name!r} too; rename one")
    return read


def _agent_files(folder: Path) -> Iterator[Path]:
    """Yield what could be an agent file in a folder and below it, in the order of their paths.

    Links are followed, as Claude does, and a folder that leads back to one above it is not. What
    editors, file systems and version control keep in hidden folders is none of ours.
    """
    found: list[Path] = []
    waiting = [(folder, frozenset({folder.resolve()}))]
    left = _MOST_ENTRIES
    while waiting:
        where, above = waiting.pop()
        for path in where.iterdir():
            left -= 1
            if left < 0:
                raise ValueError(f"more than {_MOST_ENTRIES} files and folders")
            if not is_folder(path):
                found += [path] if path.suffix.lower() == ".md" else []
            elif path.name[0] != "." and (leads := path.resolve()) not in above:
                waiting.append((path, above | {leads}))
    yield from sorted(found, key=str)
