"""Settings: flags before the environment, the project's file, the user's file, the defaults."""

from __future__ import annotations

import functools
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.config.fields import PREFIX, InProject, Setting, Settings, describe
from claude_mpm.config.trust import is_trusted, real
from claude_mpm.errors import SettingsError
from claude_mpm.folders import config_file, config_folder, of_others
from claude_mpm.own_python import NOT_SETTINGS
from claude_mpm.printable import exact_line
from claude_mpm.validation import (
    NOT_JSON,
    exists,
    explain,
    is_text,
    nearest,
    read_text,
    split_rules,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "PROJECT_FILE",
    "Resolved",
    "Setting",
    "Settings",
    "describe",
    "load_settings",
    "project_settings_file",
    "user_settings_file",
]

PROJECT_FILE = ".claude-mpm.toml"
_RULES = ("allowed_tools", "disallowed_tools")
_FRAMEWORK = frozenset({"framework", "agents_dir"})


class Resolved(msgspec.Struct, frozen=True):
    """The settings, and the origin of each value.

    Attributes:
        settings: the effective settings.
        origin: for each key "flag", "environment NAME", the path of a file, or "default".
        notes: which values of the project's file do not apply, one line each, with the remedy.
        confined_to: the project's folder, if its own file names the framework or the agents and
            it is not trusted, so that they are restricted; else None.
    """

    settings: Settings
    origin: Mapping[str, str]
    notes: tuple[str, ...] = ()
    confined_to: str | None = None


class _Value(msgspec.Struct, frozen=True):
    value: object
    origin: str


_Layer = dict[str, _Value]


def load_settings(
    flags: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
) -> Resolved:
    """Resolve every setting.

    A flag that is None or an empty list counts as not given. The project's file is searched from
    `cwd`, else from the flag `cwd`, else from the current folder.

    Raises:
        SettingsError: a key is unknown, a value is invalid, or a file cannot be read.
    """
    given = {key: value for key, value in (flags or {}).items() if value not in (None, (), [])}
    user = _user_layer()
    project = _project(_start(cwd or given.get("cwd")), user)
    above = _environment_layer(os.environ if environ is None else environ)
    above |= {key: _flag(key, value) for key, value in given.items()}
    merged = user | project.layer | above
    origin = dict.fromkeys(Settings.__struct_fields__, "default")
    origin |= {key: value.origin for key, value in merged.items()}
    values: dict[str, Any] = {key: value.value for key, value in merged.items()}
    named = _FRAMEWORK & (project.layer.keys() - above.keys())
    return Resolved(
        Settings(**values),
        origin,
        tuple(note for key, note in project.notes.items() if key not in above),
        str(project.folder) if named and not project.trusted else None,
    )


def user_settings_file() -> Path:
    """Return the path of the user's file, in the platform's own folder for settings.

    Raises:
        SettingsError: the user has no home.
    """
    return config_file("settings.toml")


def project_settings_file(start: Path) -> Path | None:
    """Return the nearest project file, from `start` up to the repository's root or the home.

    If there is neither above `start`, only `start` itself is searched: a folder such as /tmp,
    in which everybody may write, must not provide settings for folders below it.
    """
    for folder in _folders_of_project(start):
        if exists(folder / PROJECT_FILE):
            return folder / PROJECT_FILE
    return None


def _folders_of_project(start: Path) -> list[Path]:
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home() raises where there is none
    folders = [start, *start.parents]
    ends = [n for n, folder in enumerate(folders) if folder == home or exists(folder / ".git")]
    return folders[: ends[0] + 1 if ends else 1]


@functools.cache
def _setting(key: str) -> Setting:
    """Return the row of a setting; a start without a settings file needs none."""
    return next(each for each in describe() if each.key == key)


def _start(cwd: object) -> Path | None:
    """Return where the search for the project's file starts; None if that folder was removed."""
    try:
        return Path(str(cwd or "")).expanduser().absolute()
    except FileNotFoundError:
        return None
    except RuntimeError as problem:
        raise SettingsError(f"{cwd}: there is no such home folder; check the path") from problem


def _flag(key: str, value: object) -> _Value:
    where = "--" + key.replace("_", "-")
    if key not in Settings.__struct_fields__:
        raise SettingsError(f"{where}: {_unknown(key)}")
    plain = os.fspath(value) if isinstance(value, os.PathLike) else value
    return _Value(_convert(key, plain, where), "flag")


def _environment_layer(environ: Mapping[str, str]) -> _Layer:
    names = {PREFIX + key.upper(): key for key in Settings.__struct_fields__}
    layer: _Layer = {}
    if environ.get("CLAUDE_PATH"):
        value = _convert("claude_path", environ["CLAUDE_PATH"], "CLAUDE_PATH")
        layer["claude_path"] = _Value(value, "environment CLAUDE_PATH")
    given = {name for name in environ if name.startswith(PREFIX)} - NOT_SETTINGS
    for name in sorted(given):
        if name not in names:
            likely = nearest(name, names)
            hint = f"did you mean {likely}?" if likely else "unset it"
            raise SettingsError(f"{exact_line(name)}: there is no such setting; {hint}")
        if environ[name]:  # an empty variable counts as not set
            key = names[name]
            value = _convert(key, _from_text(key, environ[name], name), name, strict=False)
            layer[key] = _Value(value, f"environment {name}")
    return layer


def _from_text(key: str, text: str, name: str) -> object:
    """Split the text of a variable, if the setting is a list or a table."""
    if key == "plugins":
        return [part.strip() for part in text.split(",") if part.strip()]
    if key in _RULES:
        return [text]  # `_rules` splits it
    if key == "ticket_markers":
        pairs = [part.partition("=") for part in text.split(",") if part.strip()]
        return {marker.strip(): kind.strip() for marker, _, kind in pairs}
    if key == "places":
        try:
            return msgspec.json.decode(text)
        except NOT_JSON as problem:
            raise SettingsError(f"{name}: not JSON: {problem}; correct it") from problem
    if key == "claude_args":
        try:
            return shlex.split(text)
        except ValueError as problem:
            raise SettingsError(f"{name}: {problem}; close the quotation") from problem
    return text


def _user_layer() -> _Layer:
    if config_folder() is None:
        return {}
    path = user_settings_file()
    return _file_layer(path) if exists(path) else {}


class _Project(msgspec.Struct, frozen=True):
    """The project's file: the values that apply, and notes about the others, by their keys."""

    layer: _Layer
    notes: Mapping[str, str]
    folder: Path | None = None
    trusted: bool = False


def _project(start: Path | None, user: _Layer) -> _Project:
    path = project_settings_file(start) if start else None
    if start is None or path is None:
        return _Project({}, {})
    if note := _writable_by_others(path, start):
        return _Project({}, {"": note})
    layer, folder = _file_layer(path), path.parent
    doubtful = [key for key in layer if not _is_free(key, layer[key], folder)]
    asks = bool(doubtful) or not _FRAMEWORK.isdisjoint(layer)
    trusted = asks and is_trusted(folder)
    if trusted or not doubtful:
        return _Project(layer, {}, folder, trusted=trusted)
    kept = {key: value for key, value in layer.items() if key not in doubtful}
    notes = {}
    for key in doubtful:
        if not _is_bounded(key, layer[key]):
            raise SettingsError(_refusal(path, key))
        ours = user[key].value if key in user else getattr(Settings(), key)
        if _is_less(key, layer[key].value, ours):
            kept[key] = layer[key]
        elif layer[key].value != ours:
            notes[key] = (
                f"{_shown(path)}{_line(read_text(path, SettingsError), key)}:"
                f" `{key}` is {_in_toml(layer[key].value)}, but yours counts, {_in_toml(ours)};"
                f" to let it count: {_to_trust(folder)}"
            )
    return _Project(kept, notes, folder)


def _writable_by_others(path: Path, start: Path) -> str:
    """Return why a project's file is ignored; empty if only the user can write it.

    A user who can write the file, the root of its repository, or a folder in between, chooses the
    settings of everyone who works below.
    """
    folders = _folders_of_project(start)
    inside = folders[folders.index(path.parent) :]
    git = folders[-1] / ".git"
    for checked in (path, *inside, *[git] * exists(git)):
        try:
            reason = of_others(checked)
        except OSError as error:
            reason = f"cannot be looked at ({error.strerror})"
        if reason:
            return (
                f"{_shown(path)} does not count, because {_shown(checked)} {reason}; if it is"
                f" yours: chown {os.geteuid()} and chmod go-w {shlex.quote(_shown(checked))}"
            )
    return ""


def _is_free(key: str, value: _Value, folder: Path) -> bool:
    """Return whether a project may set a key to any value."""
    if _setting(key).in_project is InProject.INSIDE:
        return real(Path(str(value.value)).expanduser()).is_relative_to(real(folder))
    return _setting(key).in_project is InProject.ANY


def _is_bounded(key: str, value: _Value) -> bool:
    """Return whether a project may set a key within the user's own value."""
    setting = _setting(key)
    return setting.in_project is InProject.SMALLER or value.value in setting.order


def _is_less(key: str, value: Any, ours: Any) -> bool:
    order = _setting(key).order
    if not order:
        return ours is None or bool(value < ours)
    return ours not in order or order.index(value) < order.index(ours)


def _refusal(path: Path, key: str) -> str:
    line = _line(read_text(path, SettingsError), key)
    where = " outside of its folder" if _setting(key).in_project is InProject.INSIDE else ""
    return (
        f"{_shown(path)}{line}: `{key}`{where} gives a project power over what is run or spent;"
        f" set it in {user_settings_file()}, or trust the folder: {_to_trust(path.parent)}"
    )


def _to_trust(folder: Path) -> str:
    return f"claude-mpm trust {shlex.quote(_shown(folder))}"


def _shown(path: Path) -> str:
    return exact_line(str(path))


def _in_toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _file_layer(path: Path) -> _Layer:
    import tomllib

    text = read_text(path, SettingsError)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        reason, _, place = str(problem).partition(" (at ")
        line = re.match(r"line \d+", place)
        where = line[0] if line else f"line {text.count(chr(10)) + 1}"
        raise SettingsError(f"{path}, {where}: not TOML: {reason}; correct it") from problem
    except RecursionError as problem:
        raise SettingsError(f"{path}: it is nested too deeply; correct it") from problem
    layer: _Layer = {}
    for key, value in table.items():
        where = f"{path}{_line(text, key)}"
        if key not in Settings.__struct_fields__:
            raise SettingsError(f"{where}: {_unknown(key)}")
        layer[key] = _Value(_located(key, _convert(key, value, where), path.parent), str(path))
    return layer


def _located(key: str, value: object, folder: Path) -> object:
    """Return a value, relative paths resolved from the folder of the file."""
    if not _setting(key).is_path or not isinstance(value, str):
        return value
    return value if value.startswith("~") else str(folder / value)


def _line(text: str, key: str) -> str:
    quoted = rf"[\"']?{re.escape(key)}[\"']?"
    match = re.search(rf"^[ \t]*(\[\s*)?{quoted}\s*[\].=]", text, re.MULTILINE)
    return f", line {text.count(chr(10), 0, match.start()) + 1}" if match else ""


def _unknown(key: str) -> str:
    likely = nearest(key, Settings.__struct_fields__)
    hint = f"did you mean `{likely}`?" if likely else "remove it"
    return f"there is no setting `{exact_line(key)}`; {hint}"


def _convert(key: str, value: object, where: str, *, strict: bool = True) -> object:
    _check_no_nul(key, value, where)
    if not is_text(value):  # variables and arguments can contain any bytes
        shown = exact_line(str(value)[:80])
        raise SettingsError(f"{where}: `{key}`: not UTF-8; correct {shown}")
    try:
        converted = getattr(msgspec.convert({key: value}, Settings, strict=strict), key)
        return _rules(key, converted, where) if key in _RULES else converted
    except msgspec.ValidationError as problem:
        reason, shown = explain(problem, Settings, key), repr(value)[:80]
        raise SettingsError(f"{where}: `{key}`: {reason}; correct {shown}") from problem


def _check_no_nul(key: str, value: object, where: str) -> None:
    """Refuse NUL characters, which neither a path nor an argument can contain."""
    if isinstance(value, str) and "\0" in value:
        raise SettingsError(f"{where}: `{key}`: a NUL character; correct {value!r:.80}")


def _rules(key: str, texts: list[str], where: str) -> list[str]:
    """Return the rules for tools; a text may contain several, separated by commas."""
    try:
        return [rule for text in texts for rule in split_rules(text)]
    except ValueError as problem:
        raise SettingsError(f"{where}: `{key}`: {problem}; correct the rule") from problem
