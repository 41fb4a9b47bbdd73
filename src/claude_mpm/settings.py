"""Settings: a flag, then the environment, the project's file, the user's file, the default."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.checks import exists, explain, nearest, read_text
from claude_mpm.errors import SettingsError
from claude_mpm.settings_fields import PREFIX, Setting, Settings, describe
from claude_mpm.trust import is_trusted

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
_PATHS = frozenset({"framework", "agents_dir", "cwd", "claude_path", "state_dir", "log_dir"})
# Variables that begin like one of a setting, and are none.
_NO_SETTINGS = frozenset({"CLAUDE_MPM_SESSION", "CLAUDE_MPM_FOLDER", "CLAUDE_MPM_REMOTE_TOKEN"})
# A project's file comes with a cloned repository: it must not be able to choose what is run.
_RULES = ("allowed_tools", "disallowed_tools")
_BUDGETS = ("day_cost_limit_usd", "day_token_limit")  # those of all projects together
_NOT_OF_A_PROJECT = frozenset({"claude_path", "claude_args", "plugins", *_RULES, *_BUDGETS})
# The modes in which Claude does no more than in any other that the user may have set.
_MODES_OF_A_PROJECT = frozenset({"plan", "dontAsk"})


@dataclass(frozen=True)
class Resolved:
    """The settings, and for each key where its value came from.

    That is "flag", "environment NAME", the path of a file, or "default".
    """

    settings: Settings
    origin: Mapping[str, str]


@dataclass(frozen=True)
class _Value:
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

    A flag that is None or an empty list was not given. The project's file is looked for from
    `cwd`, else from the flag `cwd`, else from the current folder. Raises SettingsError for an
    unknown key, a wrong value or a file that cannot be read.
    """
    given = {key: value for key, value in (flags or {}).items() if value not in (None, (), [])}
    layers = [_user_layer(), _project_layer(_start(cwd or given.get("cwd")))]
    layers.append(_environment_layer(os.environ if environ is None else environ))
    layers.append({key: _flag(key, value) for key, value in given.items()})
    merged: _Layer = {}
    for layer in layers:
        merged |= layer
    origin = dict.fromkeys(Settings.__struct_fields__, "default")
    origin |= {key: found.origin for key, found in merged.items()}
    values: dict[str, Any] = {key: found.value for key, found in merged.items()}
    return Resolved(Settings(**values), origin)


def user_settings_file() -> Path:
    """Return the path of the user's file, in the platform's own folder for settings."""
    import platformdirs

    return Path(platformdirs.user_config_dir("claude-mpm", appauthor=False)) / "settings.toml"


def project_settings_file(start: Path) -> Path | None:
    """Return the nearest project file, from `start` up to the repository's root or the home.

    Where there is neither above `start`, only `start` itself is looked at: a folder such as /tmp,
    in which everybody may write, must not give settings to what is below it.
    """
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home() raises where there is none
    folders = [start, *start.parents]
    ends = [n for n, folder in enumerate(folders) if folder == home or exists(folder / ".git")]
    for folder in folders[: ends[0] + 1 if ends else 1]:
        if exists(folder / PROJECT_FILE):
            return folder / PROJECT_FILE
    return None


def _start(cwd: object) -> Path:
    try:
        return Path(str(cwd or "")).expanduser().absolute()
    except FileNotFoundError as problem:
        raise SettingsError("the current folder is gone; change to one that exists") from problem
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
    given = {name for name in environ if name.startswith(PREFIX)} - _NO_SETTINGS
    for name in sorted(given):
        if name not in names:
            likely = nearest(name, names)
            hint = f"did you mean {likely}?" if likely else "unset it"
            raise SettingsError(f"{_printable(name)}: there is no such setting; {hint}")
        if environ[name]:  # an empty variable is one that is not set
            key = names[name]
            value = _convert(key, _from_text(key, environ[name], name), name, strict=False)
            layer[key] = _Value(value, f"environment {name}")
    return layer


def _from_text(key: str, text: str, name: str) -> object:
    """Split the text of a variable where the setting is a list or a table."""
    if key == "plugins":
        return [part.strip() for part in text.split(",") if part.strip()]
    if key in _RULES:  # a rule may have commas within its parentheses
        return [rule.strip() for rule in re.findall(r"(?:\([^)]*\)|[^,(])+", text) if rule.strip()]
    if key == "ticket_markers":
        pairs = [part.partition("=") for part in text.split(",") if part.strip()]
        return {marker.strip(): kind.strip() for marker, _, kind in pairs}
    if key == "claude_args":
        import shlex

        try:
            return shlex.split(text)
        except ValueError as problem:
            raise SettingsError(f"{name}: {problem}; close the quotation") from problem
    return text


def _user_layer() -> _Layer:
    path = user_settings_file()
    return _file_layer(path) if exists(path) else {}


def _project_layer(start: Path) -> _Layer:
    path = project_settings_file(start)
    if path is None:
        return {}
    layer = _file_layer(path)
    refused = [key for key in layer if key in _NOT_OF_A_PROJECT]
    if (mode := layer.get("permission_mode")) and mode.value not in _MODES_OF_A_PROJECT:
        refused.append("permission_mode")
    if refused and not is_trusted(path.parent):
        line = _line(read_text(path, SettingsError), refused[0])
        raise SettingsError(
            f"{path}{line}: `{refused[0]}` gives a project power over what is run or spent; "
            f"set it in {user_settings_file()}, or trust the folder: claude-mpm trust {path.parent}"
        )
    return layer


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
    layer: _Layer = {}
    for key, value in table.items():
        where = f"{path}{_line(text, key)}"
        if key not in Settings.__struct_fields__:
            raise SettingsError(f"{where}: {_unknown(key)}")
        layer[key] = _Value(_located(key, _convert(key, value, where), path.parent), str(path))
    return layer


def _located(key: str, value: object, folder: Path) -> object:
    """A relative path in a file is meant from the folder of the file."""
    if key not in _PATHS or not isinstance(value, str):
        return value
    return value if value.startswith("~") else str(folder / value)


def _line(text: str, key: str) -> str:
    quoted = rf"[\"']?{re.escape(key)}[\"']?"
    found = re.search(rf"^[ \t]*(\[\s*)?{quoted}\s*[\].=]", text, re.MULTILINE)
    return f", line {text.count(chr(10), 0, found.start()) + 1}" if found else ""


def _unknown(key: str) -> str:
    likely = nearest(key, Settings.__struct_fields__)
    hint = f"did you mean `{likely}`?" if likely else "remove it"
    return f"there is no setting `{_printable(key)}`; {hint}"


def _printable(name: str) -> str:
    """Return a name that anybody may have written, in one line."""
    return name if name.isprintable() else repr(name)[1:-1]


def _convert(key: str, value: object, where: str, *, strict: bool = True) -> object:
    try:
        return getattr(msgspec.convert({key: value}, Settings, strict=strict), key)
    except msgspec.ValidationError as problem:
        reason, shown = explain(problem, Settings, key), repr(value)[:80]
        raise SettingsError(f"{where}: `{key}`: {reason}; correct {shown}") from problem
    except UnicodeEncodeError as problem:  # a variable can have any bytes
        raise SettingsError(f"{where}: `{key}`: not UTF-8; correct {value!r:.80}") from problem
