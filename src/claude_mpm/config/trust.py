"""Which folders the user trusts, and what in a project Claude Code would act on by itself.

Turned round: whatever is not on a list of harmless things counts, so that a key that the next
release brings counts as well, and so does what cannot be read. Where Claude Code looks was observed
with 2.1.330, in `-p`: settings in the folder, local ones also at the root of its repository and of
the repository of a work tree, `.mcp.json` in every folder above, agents, commands and skills up to
the root.
"""

from __future__ import annotations

import json
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claude_mpm.errors import SettingsError
from claude_mpm.folders import config_file, config_folder, locked, make_private, of_others
from claude_mpm.printable import exact_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ACCEPTED = "hasTrustDialogAccepted"
_SETTINGS = ("settings.json", "settings.local.json")
_SCHEDULED = "scheduled_tasks.json"
_SERVERS = ".mcp.json"
_MOST_BYTES = 1 << 20  # of one file; a larger one is not looked through
_MOST_FILES = 1000  # of agents, commands and skills

# Settings that run nothing, permit nothing and reach nothing else.
_HARMLESS = frozenset((
    "$schema",
    # What Claude is told and how it writes, as CLAUDE.md says it, too.
    "attribution", "includeCoAuthoredBy", "includeGitInstructions", "language", "outputStyle",
    # Which model it is, as the project's `.claude-mpm.toml` may say; the budgets bound its cost.
    "model",
    # What a screen looks like.
    "maxProseWidth", "prefersReducedMotion", "showMessageTimestamps", "showTurnDuration",
    "spinnerTipsEnabled", "spinnerVerbs", "syntaxHighlightingDisabled",
    "terminalProgressBarEnabled", "theme", "timeFormat", "timeZone",
))  # fmt: skip
# Permissions that only take away.
_NARROWING = frozenset(("deny", "ask", "disableBypassPermissionsMode", "disableAutoMode"))
_NARROWER_MODE = "plan"  # Claude only reads in it
# What an agent, a command or a skill may say of itself: words, and what takes away.
_PLAIN_WORDS = frozenset((
    "name", "description", "argument-hint", "arguments", "when_to_use", "when-to-use", "model",
    "color", "tools", "disallowedTools", "disallowed-tools", "disable-model-invocation",
    "user-invocable", "context", "agent", "version", "license", "author", "metadata", "tags",
    "category", "title",
))  # fmt: skip
_WORDS = ("agents", "commands", "skills")
_KEY = re.compile(r"([A-Za-z][\w-]*):(\s|$)")


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
    """Trust a folder and all below it, or no longer.

    Raises:
        SettingsError: the list cannot be kept.
    """
    folder = real(folder)
    file = trusted_file()
    draft = file.with_name(f".{file.name}.new")
    try:
        make_private(file.parent)
        with locked(file):  # of two who change it at once, each keeps what the other has added
            left = [each for each in trusted_folders() if each != folder]
            # One JSON string for each: a name may have line breaks and bytes that are no text.
            lines = (f"{json.dumps(str(each))}\n" for each in [*left, *[folder] * trusted])
            draft.write_text("".join(lines), "utf-8")
            draft.chmod(0o600)
            draft.replace(file)
    except OSError as error:
        raise SettingsError(f"{file}: {error.strerror}; check the folder") from error


def is_trusted(folder: Path, environ: Mapping[str, str] | None = None) -> bool:
    """Return whether the user trusts a folder: here, or in Claude Code's own dialog.

    Args:
        environ: where Claude Code's configuration is looked for; None for this process's.
    """
    return trusted_by(folder, environ) is not None


def trusted_by(folder: Path, environ: Mapping[str, str] | None = None) -> tuple[Path, str] | None:
    """Return the nearest folder that is trusted and has this one below it; None where none is.

    With it comes the file that says so. The real path counts, whatever link leads to it.
    """
    folder = real(folder)
    ours = set(trusted_folders())
    theirs: set[str] | None = None
    for each in (folder, *folder.parents):
        if each in ours:
            return each, str(trusted_file())
        if theirs is None:
            configuration, theirs = _accepted_in_claude(os.environ if environ is None else environ)
        if str(each) in theirs:
            return each, str(configuration)
    return None


def real(folder: Path) -> Path:
    """Return the path of a folder without links, also where it is not there."""
    return Path(os.path.realpath(folder))


def claude_folder(environ: Mapping[str, str]) -> Path | None:
    """Return the folder of Claude Code's settings of the user, as the user's variables name it."""
    if configured := environ.get("CLAUDE_CONFIG_DIR"):
        return Path(configured)
    home = environ.get("HOME")
    return Path(home, ".claude") if home else None


@dataclass(frozen=True)
class Act:
    """One thing that Claude Code would act on.

    Attributes:
        what: a key, a server, or what is wrong with the file.
        file: where it is.
        folder: the folder that has to be trusted for it.
    """

    what: str
    file: Path
    folder: Path

    def seen_from(self, folder: Path) -> str:
        """Return it in words, with the file's path as from a folder."""
        inside = self.file.is_relative_to(folder)
        return exact_line(
            f"{self.what} in {self.file.relative_to(folder) if inside else self.file}"
        )


def acts_of(folder: Path, environ: Mapping[str, str] | None = None) -> list[Act]:
    """Return all that Claude Code would act on in a folder that it works in.

    Args:
        environ: Claude's variables, which say where the user's own settings are.
    """
    folder = real(folder)
    own = claude_folder(os.environ if environ is None else environ)
    users = real(own) if own else None
    found: list[Act] = []
    for place in _roots(folder):
        if real(place / ".claude") != users:
            found += [act for name in _SETTINGS for act in _of_settings(place, name)]
            found += _of_schedule(place)
    for place in _project(folder):
        if real(place / ".claude") != users:
            found += _of_words(place)
    return found + [act for place in (folder, *folder.parents) for act in _of_servers(place)]


def untrusted_acts(folder: Path, environ: Mapping[str, str] | None = None) -> list[Act]:
    """Return what of it the user has not trusted.

    Trust is that in the folder of the file. For a trusted project, what lies above its repository
    is the user's own where nobody else could have written it.
    """
    folder = real(folder)
    acts = acts_of(folder, environ)
    if not acts:
        return []
    trusted = {each: is_trusted(each, environ) for each in {act.folder for act in acts}}
    above = (repository_root(folder) or folder).parents
    own = set(above) if is_trusted(folder, environ) else set()
    return [
        act
        for act in acts
        if not (trusted[act.folder] or (act.folder in own and _is_the_users(act)))
    ]


def _is_the_users(act: Act) -> bool:
    return not (of_others(act.folder) or of_others(act.file))


def commands_of(folder: Path) -> list[str]:
    """Return in words what of a project folder Claude Code would act on."""
    return [act.seen_from(real(folder)) for act in acts_of(folder)]


def is_scheduled(acts: list[Act]) -> bool:
    """Return whether tasks are among them that begin a turn by themselves."""
    return any(act.file.name == _SCHEDULED for act in acts)


def repository_root(folder: Path) -> Path | None:
    """Return the nearest folder, this one or above, that has a `.git`; None where none has."""
    return next(
        (each for each in (folder, *folder.parents) if os.path.lexists(each / ".git")), None
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
    """Return the folders for which Claude Code's trust dialog was answered with yes, and where."""
    base = environ.get("CLAUDE_CONFIG_DIR") or environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111
    file = Path(base, ".claude.json")
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):  # then it says nothing about any folder
        return file, set()
    projects = found.get("projects") if isinstance(found, dict) else None
    if not isinstance(projects, dict):
        return file, set()
    return file, {
        name for name, each in projects.items() if isinstance(each, dict) and each.get(_ACCEPTED)
    }


def _project(folder: Path) -> list[Path]:
    """Return the folder and those above it up to the root of its repository, or to all ends."""
    above = [folder, *folder.parents]
    root = repository_root(folder)
    return above[: above.index(root) + 1] if root else above


def _roots(folder: Path) -> list[Path]:
    """Return the folders whose settings count: this one, the repository's, that of a work tree."""
    root = repository_root(folder)
    main = _main_of_work_tree(root) if root else None
    return list(dict.fromkeys(each for each in (folder, root, main) if each))


def _main_of_work_tree(root: Path) -> Path | None:
    """Return the folder of the repository that a work tree belongs to (gitrepository-layout(5))."""
    if not (root / ".git").is_file():
        return None
    said, _, where = _text(root / ".git").strip().partition("gitdir: ")
    if said or not where:
        return None
    folder = root / where
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
            for rule, given in value.items():
                if not _narrows(rule, given):
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
    found = _read(file)
    if isinstance(found, str):
        yield Act(found, file, place)
        return
    servers = found.get("mcpServers", {})
    if isinstance(servers, dict):
        for name in servers:
            yield Act(f"server {name}", file, place)
    if not isinstance(servers, dict) or found.keys() - {"mcpServers", "$schema"}:
        yield Act("servers", file, place)


def _of_words(place: Path) -> Iterator[Act]:
    """Find agents, commands and skills that have more than words: hooks, servers, modes, rules."""
    left = _MOST_FILES
    for kind in _WORDS:
        for at, folders, names in os.walk(place / ".claude" / kind, followlinks=True):
            left -= 1 + len(names)
            if left < 0:
                yield Act("too many files to look through", place / ".claude" / kind, place)
                return
            folders.sort()
            for file in (Path(at, name) for name in sorted(names) if name.lower().endswith(".md")):
                for what in _more_than_words(file):
                    yield Act(what, file, place)


def _more_than_words(file: Path) -> list[str]:
    """Return the keys of a front matter that are no mere words.

    It is read line by line and not as YAML: a line that is no plain `key: value` at the left, and
    does not belong to one, is not understood, and counts.
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
    found = []
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
        found += [] if key[1] in _PLAIN_WORDS else [key[1]]
    return found


def _read(file: Path) -> dict[str, Any] | str:
    """Return a file's JSON object, empty where there is none, or in words why it cannot be read."""
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
    """Return a JSON object, in which each key may be there only once: readers differ in which."""
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key is there twice")
    return table


def _bytes(file: Path) -> bytes | None:
    """Return the contents of a regular file; None for another kind, or for too many bytes."""
    handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO must not block us
    with os.fdopen(handle, "rb") as opened:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        data = opened.read(_MOST_BYTES + 1)
    return data if len(data) <= _MOST_BYTES else None
