"""Trusted folders, and what Claude Code would act on in a project that is not trusted.

Everything counts that is not on a list of harmless keys, so that new keys of later releases count,
and files that cannot be read. Where Claude Code looks was observed with 2.1.330, in `-p`: settings
in the folder, local ones also at the root of its repository and of the repository of a work tree,
`.mcp.json` in every folder above, agents, commands and skills up to the root.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.errors import SettingsError
from claude_mpm.folders import config_file, config_folder, locked, make_private, of_others
from claude_mpm.patterns import lazy_pattern
from claude_mpm.printable import exact_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ACCEPTED = "hasTrustDialogAccepted"
_SETTINGS = ("settings.json", "settings.local.json")
_SCHEDULED = "scheduled_tasks.json"
_SERVERS = ".mcp.json"
_MAX_BYTES = 1 << 20  # of one file; a larger one is not examined
_MAX_FILES = 1000  # of agents, commands and skills

# Settings that run nothing, permit nothing and reach nothing else.
_HARMLESS = frozenset((
    "$schema",
    # Instructions and style, which CLAUDE.md may contain as well.
    "attribution", "includeCoAuthoredBy", "includeGitInstructions", "language", "outputStyle",
    # The model, which the project's `.claude-mpm.toml` may set as well; budgets bound its cost.
    "model",
    # The appearance of the interface.
    "maxProseWidth", "prefersReducedMotion", "showMessageTimestamps", "showTurnDuration",
    "spinnerTipsEnabled", "spinnerVerbs", "syntaxHighlightingDisabled",
    "terminalProgressBarEnabled", "theme", "timeFormat", "timeZone",
))  # fmt: skip
# Permissions that only restrict.
_NARROWING = frozenset(("deny", "ask", "disableBypassPermissionsMode", "disableAutoMode"))
_NARROWER_MODE = "plan"  # Claude only reads in it
# Front matter of agents, commands and skills that is only text, or only restricts.
_HARMLESS_FRONT_MATTER = frozenset((
    "name", "description", "argument-hint", "arguments", "when_to_use", "when-to-use", "model",
    "color", "tools", "disallowedTools", "disallowed-tools", "disable-model-invocation",
    "user-invocable", "context", "agent", "version", "license", "author", "metadata", "tags",
    "category", "title",
))  # fmt: skip
_WITH_FRONT_MATTER = ("agents", "commands", "skills")
_KEY = lazy_pattern(r"([A-Za-z][\w-]*):(\s|$)")


def trusted_file() -> Path:
    """Return the path of the list of trusted folders.

    Raises:
        SettingsError: the user has no home.
    """
    return config_file("trusted")


def trusted_folders() -> list[Path]:
    """Return the folders that `trust` was called with.

    Raises:
        SettingsError: the list cannot be read.
    """
    if config_folder() is None:
        return []
    file = trusted_file()
    try:
        lines = file.read_text("utf-8").split("\n")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: {error}; mend it or remove it") from error
    return [_folder(file, number, line) for number, line in enumerate(lines, 1) if line]


def set_trust(folder: Path, *, trusted: bool) -> None:
    """Trust a folder and all folders below it, or stop trusting them.

    Raises:
        SettingsError: the list cannot be written.
    """
    folder = real(folder)
    file = trusted_file()
    draft = file.with_name(f".{file.name}.new")
    try:
        make_private(file.parent)
        with locked(file):  # so that two concurrent changes do not lose one another
            others = [path for path in trusted_folders() if path != folder]
            # JSON strings, since a name may contain line breaks, and bytes that are not UTF-8.
            lines = (f"{json.dumps(str(path))}\n" for path in [*others, *[folder] * trusted])
            draft.write_text("".join(lines), "utf-8")
            draft.chmod(0o600)
            draft.replace(file)
    except OSError as error:
        raise SettingsError(f"{file}: {error.strerror}; check the folder") from error


def is_trusted(folder: Path, environ: Mapping[str, str] | None = None) -> bool:
    """Return whether the user trusts a folder: by `trust`, or in Claude Code's own dialog.

    Args:
        environ: the variables that locate Claude Code's configuration; None for this process's.
    """
    return trusted_by(folder, environ) is not None


def trusted_by(folder: Path, environ: Mapping[str, str] | None = None) -> tuple[Path, str] | None:
    """Return the nearest trusted folder, this one or above, and the file that trusts it.

    None if there is none. Paths are compared with their links resolved.
    """
    folder = real(folder)
    ours = set(trusted_folders())
    theirs: set[str] | None = None
    for candidate in (folder, *folder.parents):
        if candidate in ours:
            return candidate, str(trusted_file())
        if theirs is None:
            configuration, theirs = _accepted_in_claude(os.environ if environ is None else environ)
        if str(candidate) in theirs:
            return candidate, str(configuration)
    return None


def real(folder: Path) -> Path:
    """Return the path of a folder with its links resolved, also if it does not exist."""
    return Path(os.path.realpath(folder))


def claude_folder(environ: Mapping[str, str]) -> Path | None:
    """Return the folder of the user's settings of Claude Code, from the environment."""
    if configured := environ.get("CLAUDE_CONFIG_DIR"):
        return Path(configured)
    home = environ.get("HOME")
    return Path(home, ".claude") if home else None


class Act(msgspec.Struct, frozen=True):
    """Something on which Claude Code would act.

    Attributes:
        what: a key, a server, or why the file cannot be examined.
        file: the file that contains it.
        folder: the folder that must be trusted for it.
    """

    what: str
    file: Path
    folder: Path

    def seen_from(self, folder: Path) -> str:
        """Return a description, with the path relative to a folder."""
        inside = self.file.is_relative_to(folder)
        return exact_line(
            f"{self.what} in {self.file.relative_to(folder) if inside else self.file}"
        )


def acts_of(folder: Path, environ: Mapping[str, str] | None = None) -> list[Act]:
    """Return everything on which Claude Code would act in a working folder.

    Args:
        environ: Claude's variables, which locate the user's own settings.
    """
    folder = real(folder)
    own = claude_folder(os.environ if environ is None else environ)
    users = real(own) if own else None
    acts: list[Act] = []
    for place in _roots(folder):
        if real(place / ".claude") != users:
            acts += [act for name in _SETTINGS for act in _of_settings(place, name)]
            acts += _of_schedule(place)
    for place in _project(folder):
        if real(place / ".claude") != users:
            acts += _of_front_matter(place)
    return acts + [act for place in (folder, *folder.parents) for act in _of_servers(place)]


def untrusted_acts(folder: Path, environ: Mapping[str, str] | None = None) -> list[Act]:
    """Return those of `acts_of` that the user has not trusted.

    The folder of each file must be trusted. For a trusted project, files above its repository count
    as the user's own if nobody else could have written them.
    """
    folder = real(folder)
    acts = acts_of(folder, environ)
    if not acts:
        return []
    trusted = {path: is_trusted(path, environ) for path in {folder, *(act.folder for act in acts)}}
    above = (repository_root(folder) or folder).parents
    own = set(above) if trusted[folder] else set()
    return [
        act
        for act in acts
        if not (trusted[act.folder] or (act.folder in own and _is_the_users(act)))
    ]


def _is_the_users(act: Act) -> bool:
    return not (of_others(act.folder) or of_others(act.file))


def commands_of(folder: Path) -> list[str]:
    """Return descriptions of everything on which Claude Code would act in a project folder."""
    return [act.seen_from(real(folder)) for act in acts_of(folder)]


def is_scheduled(acts: list[Act]) -> bool:
    """Return whether there are scheduled tasks, which start turns."""
    return any(act.file.name == _SCHEDULED for act in acts)


def repository_root(folder: Path) -> Path | None:
    """Return the nearest folder, this one or above, with a `.git`; None if there is none."""
    return next(
        (
            candidate
            for candidate in (folder, *folder.parents)
            if os.path.lexists(candidate / ".git")
        ),
        None,
    )


def _folder(file: Path, number: int, line: str) -> Path:
    """Read a line: a JSON string, or a bare path as earlier versions wrote it."""
    if not line.startswith('"'):
        return Path(line)
    try:
        return Path(str(json.loads(line)))
    except ValueError as error:
        raise SettingsError(f"{file}, line {number}: no path; mend it or remove it") from error


def _accepted_in_claude(environ: Mapping[str, str]) -> tuple[Path, set[str]]:
    """Return Claude Code's file, and the folders that were trusted in its dialog."""
    base = environ.get("CLAUDE_CONFIG_DIR") or environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111
    file = Path(base, ".claude.json")
    try:
        config = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):  # then it trusts no folder
        return file, set()
    projects = config.get("projects") if isinstance(config, dict) else None
    if not isinstance(projects, dict):
        return file, set()
    return file, {
        name
        for name, project in projects.items()
        if isinstance(project, dict) and project.get(_ACCEPTED)
    }


def _project(folder: Path) -> list[Path]:
    """Return the folder and those above it, up to the root of its repository or of the disk."""
    above = [folder, *folder.parents]
    root = repository_root(folder)
    return above[: above.index(root) + 1] if root else above


def _roots(folder: Path) -> list[Path]:
    """Return the folders whose settings apply: this one, the repository, that of a work tree."""
    root = repository_root(folder)
    main = _main_of_work_tree(root) if root else None
    return list(dict.fromkeys(path for path in (folder, root, main) if path))


def _main_of_work_tree(root: Path) -> Path | None:
    """Return the folder of the repository that a work tree belongs to (gitrepository-layout(5))."""
    if not (root / ".git").is_file():
        return None
    prefix, _, path = _text(root / ".git").strip().partition("gitdir: ")
    if prefix or not path:
        return None
    folder = root / path
    common = folder / (_text(folder / "commondir").strip() or ".")
    return real(common).parent


def _text(file: Path) -> str:
    try:
        return (_bytes(file) or b"").decode("utf-8", "replace")
    except OSError:
        return ""


def _of_settings(place: Path, name: str) -> Iterator[Act]:
    file = place / ".claude" / name
    settings = _read(file)
    if isinstance(settings, str):
        yield Act(settings, file, place)
        return
    for key, value in settings.items():
        if key == "permissions" and isinstance(value, dict):
            for rule, setting in value.items():
                if not _narrows(rule, setting):
                    yield Act(f"permissions.{rule}", file, place)
        elif key not in _HARMLESS:
            yield Act(key, file, place)


def _narrows(rule: str, value: object) -> bool:
    return rule in _NARROWING or (rule == "defaultMode" and value == _NARROWER_MODE)


def _of_schedule(place: Path) -> Iterator[Act]:
    file = place / ".claude" / _SCHEDULED
    tasks = _read(file)
    if tasks:
        yield Act(tasks if isinstance(tasks, str) else "tasks", file, place)


def _of_servers(place: Path) -> Iterator[Act]:
    file = place / _SERVERS
    config = _read(file)
    if isinstance(config, str):
        yield Act(config, file, place)
        return
    servers = config.get("mcpServers", {})
    if isinstance(servers, dict):
        for name in servers:
            yield Act(f"server {name}", file, place)
    if not isinstance(servers, dict) or config.keys() - {"mcpServers", "$schema"}:
        yield Act("servers", file, place)


def _of_front_matter(place: Path) -> Iterator[Act]:
    """Yield front matter that is more than text: hooks, servers, modes, rules."""
    left = _MAX_FILES
    for kind in _WITH_FRONT_MATTER:
        for at, folders, names in os.walk(place / ".claude" / kind, followlinks=True):
            left -= 1 + len(names)
            if left < 0:
                yield Act("too many files to look through", place / ".claude" / kind, place)
                return
            folders.sort()
            for file in (Path(at, name) for name in sorted(names) if name.lower().endswith(".md")):
                for what in _keys_that_count(file):
                    yield Act(what, file, place)


def _keys_that_count(file: Path) -> list[str]:
    """Return the keys of a front matter that are not harmless.

    It is read line by line and not as YAML: a line that is neither `key: value` nor a continuation
    of one is not understood, and so counts.
    """
    try:
        data = _bytes(file)
    except OSError as error:
        return [f"what cannot be read ({error.strerror})"]
    if data is None:
        return ["what is no file, or too large to look through"]
    lines = data.decode("utf-8", "replace").lstrip("\ufeff \t\r\n").splitlines()
    if not lines or not lines[0].startswith("---"):
        return []
    keys = []
    begun = False
    for line in lines[1:]:
        if line.rstrip() == "---":
            break
        if not line.strip() or line.startswith("#") or (begun and line[0] in " \t-"):
            continue
        key = _KEY.match(line)
        begun = True
        if key is None:
            return ["a front matter that is not understood"]
        keys += [] if key[1] in _HARMLESS_FRONT_MATTER else [key[1]]
    return keys


def _read(file: Path) -> dict[str, Any] | str:
    """Return a file's JSON object, empty if there is no file; or why it cannot be read."""
    try:
        data = _bytes(file)
        if data is None:
            return "what is no file, or too large to look through"
        value = json.loads(data, object_pairs_hook=_table) if data.strip() else {}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        return f"what cannot be read ({error.strerror})"
    except (ValueError, RecursionError):
        return "what is not understood"
    return value if isinstance(value, dict) else "what is not understood"


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; refuse duplicate keys, of which readers choose different ones."""
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key is there twice")
    return table


def _bytes(file: Path) -> bytes | None:
    """Return the content of a regular file; None for another kind, or if it is too large."""
    handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO must not block us
    with os.fdopen(handle, "rb") as opened:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        data = opened.read(_MAX_BYTES + 1)
    return data if len(data) <= _MAX_BYTES else None
