"""The framework: the instructions and agents with which Claude is started."""

from __future__ import annotations

import hashlib
import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

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
_MAX_ENTRIES = 10_000  # in a folder of agents, including subfolders
# The options that an agent of an untrusted project may have, besides its texts, tools and model.
_WITHOUT_POWER = frozenset({"disallowedTools", "color", "maxTurns", "effort"})
_logger = logging.getLogger(__name__)
_DEFAULT = Path(__file__).parent / "default_framework"


class Framework(msgspec.Struct, frozen=True):
    """Instructions and agents that were read together and checked.

    `sha256` covers both, and not where they came from.
    """

    instructions: str
    agents: tuple[Agent, ...]
    sha256: str
    source: str  # a path, "packaged default" or "none"
    agents_source: str = ""  # the folder of additional agents
    notes: tuple[str, ...] = ()  # what was ignored, one line each


class FrameworkLoader:
    """Finds, reads and checks a framework.

    `framework_path` is a file, or a folder with `INSTRUCTIONS.md` and perhaps `agents/*.md`;
    without it, the packaged default is used. The agents of `agents_dir` are added, and replace
    those of the same name. `enabled=False` leaves out the framework, but not `agents_dir`.

    `confined_to` is the folder of a project whose own settings name one of the two. Unless it is
    trusted, no link may lead out of it, and its agents may not have hooks, servers or modes: a
    `SettingsError` names the file and the line.

    Relative paths are resolved from the current folder when the loader is made. Files are read on
    each call, so that an edited file takes effect. What is ignored is logged once, as a warning of
    the logger `claude_mpm.config.framework`.
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
        self._logged: set[str] = set()

    @property
    def source(self) -> str:
        """Where the instructions come from: a path, "packaged default" or "none"."""
        if not self.enabled:
            return "none"
        return str(self.framework_path or PACKAGED_DEFAULT)

    def get_framework_instructions(self) -> str:
        """Return the text for Claude, which is empty only if the framework is switched off.

        Files that it imports with `@path` follow its own text.

        Raises:
            FrameworkError: the text is missing, empty, unreadable or not UTF-8.
        """
        return self._instructions()[0]

    def load(self) -> Framework:
        """Read and check everything.

        Raises:
            FrameworkError: one line for each mistake, which names the file and mostly the line.
        """
        instructions, notes = self._instructions()
        errors: list[str] = []
        agents: dict[str, Agent] = {}
        for folder, required in self._folders_of_agents():
            read, missing = _read_folder(folder, required=required)
            self._check_power(folder, read)
            agents |= {file.agent.name: file.agent for file in read if file.agent}
            errors += missing
            errors += [line for file in read for line in file.errors]
            notes += [line for file in read for line in file.notes]
        self._log_once(notes)
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
        """Return the text for Claude, and notes about imports that were not followed."""
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
        """Yield the folders of agents, and whether each must contain some; later ones win."""
        if self.enabled and is_folder(self._base):
            yield self._base / "agents", False
        if self.agents_dir:
            yield self.agents_dir, True

    def _untrusted(self, path: Path) -> Path | None:
        """Return the untrusted project that names a path; None if the user does."""
        project = self._confined_to
        if project and path.is_relative_to(project) and not is_trusted(project):
            return project
        return None

    def _check_power(self, folder: Path, read: Iterable[AgentFile]) -> None:
        """Refuse agents with which an untrusted project controls what is run or permitted."""
        project = self._untrusted(folder)
        if project is None:
            return
        for file in read:
            _check_inside(file.path, project)
            options = file.agent.options.keys() if file.agent else set()
            for key in sorted(options - _WITHOUT_POWER, key=file.lines.__getitem__):
                raise SettingsError(
                    f"{file.path}, line {file.lines[key]}: `{key}` gives an agent of the project"
                    " power over what is run or permitted; remove it, or trust the folder:"
                    f" claude-mpm trust {shlex.quote(str(project))}"
                )

    def _log_once(self, notes: Iterable[str]) -> None:
        for note in notes:
            if note not in self._logged:
                self._logged.add(note)
                _logger.warning("%s", note)


def _check_inside(path: Path, project: Path) -> None:
    """Refuse a link out of an untrusted project, which could lead to any file of the user."""
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
    """Return the content of each file of a folder of agents.

    Raises:
        OSError: the folder cannot be read.
    """
    names: dict[str, Path] = {}
    return [_read_one(path, names) for path in _agent_files(folder)]


def _read_folder(folder: Path, *, required: bool) -> tuple[list[AgentFile], list[str]]:
    """Return the content of a folder's files, and errors of the folder itself."""
    files: list[AgentFile] = []
    try:
        files = read_agents(folder)
    except FileNotFoundError as problem:
        if folder.is_symlink():
            return files, [f"{folder}: a link that leads nowhere; mend or remove it"]
        missing = f"{folder}: there is no such folder; check the path"
        return files, [missing] if required or problem.filename != str(folder) else []
    except NotADirectoryError:
        return files, [f"{folder}: not a folder; name the one with the *.md"]
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        where = getattr(problem, "filename", None) or folder
        return files, [f"{where}: cannot be read ({reason}); mend it"]
    if required and not any(file.agent or file.errors for file in files):
        return files, [f"{folder}: no agent file (*.md) in the folder; write one in it"]
    return files, []


def _read_one(path: Path, names: dict[str, Path]) -> AgentFile:
    """Read a file of a folder; an agent's name must not be in `names`."""
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
    """Yield possible agent files in a folder and below it, in the order of their paths.

    Links are followed, as Claude does, except to a folder above. Hidden folders, as of editors and
    version control, are skipped.
    """
    paths: list[Path] = []
    waiting = [(folder, frozenset({folder.resolve()}))]
    left = _MAX_ENTRIES
    while waiting:
        where, above = waiting.pop()
        for path in where.iterdir():
            left -= 1
            if left < 0:
                raise ValueError(f"more than {_MAX_ENTRIES} files and folders")
            if not is_folder(path):
                paths += [path] if path.suffix.lower() == ".md" else []
            elif path.name[0] != "." and (target := path.resolve()) not in above:
                waiting.append((path, above | {target}))
    yield from sorted(paths, key=str)
