"""Where the `claude` command is: asked for, on PATH, or in the wheel of the extra `claude`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from claude_mpm.errors import ClaudeNotFound
from claude_mpm.patterns import lazy_pattern
from claude_mpm.printable import exact_line
from claude_mpm.validation import exists, is_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

_VERSION = lazy_pattern(r"\d{1,6}\.\d{1,6}\.\d{1,6}")


_LONGEST_FIRST_LINE = 256  # bytes of a script's first line that Linux reads (execve(2))


def find_claude(configured: str | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """Return the absolute path of the `claude` to run; called at each start.

    `configured` is the setting `claude_path`: a path, or the version of one that is installed
    beside others, as Claude Code's own installer does it; without it the variable CLAUDE_PATH of
    `environ` (default: that of this process) counts, then `claude` on PATH, then the one in the
    wheel.
    Raises ClaudeNotFound where there is none, and where the one asked for cannot be run.
    """
    variables = os.environ if environ is None else environ
    variable = variables.get("CLAUDE_PATH")
    if asked := configured or variable:
        # The settings pass the variable on; the message names what the person wrote.
        return _asked_for(asked, "CLAUDE_PATH" if asked == variable else "claude_path")
    found = _on_path(variables) or in_wheel()
    if found is None:
        raise ClaudeNotFound(
            "no `claude` on PATH, by CLAUDE_PATH or in the extra `claude`; install Claude Code, "
            "or the package that brings it along: pip install claude-agent-sdk"
        )
    if reason := _no_interpreter(found):
        raise ClaudeNotFound(f"the `claude` on PATH is {found}, {reason}")
    return found


def _asked_for(text: str, name: str) -> Path:
    if _VERSION.fullmatch(text):
        return _installed(text, name)
    path = Path(os.path.expanduser(text)).absolute()  # noqa: PTH111 - never raises, for any `~`
    advice = f"correct {name}, or leave it out to take the `claude` on PATH"
    if not exists(path):
        raise ClaudeNotFound(f"{name} names {path}, and there is no such file; {advice}")
    if not path.is_file():
        raise ClaudeNotFound(f"{name} names {path}, which is not a file; {advice}")
    if not os.access(path, os.X_OK):
        raise ClaudeNotFound(f"{name} names {path}, which is not executable; {advice}")
    if reason := _no_interpreter(path):
        raise ClaudeNotFound(f"{name} names {path}, {reason}")
    return path


def _no_interpreter(path: Path) -> str:
    """Return why a script cannot be run though it is executable; empty where it can."""
    try:
        with path.open("rb") as file:
            first = file.read(_LONGEST_FIRST_LINE).partition(b"\n")[0]
    except OSError:  # it may be run and not read
        return ""
    # Blanks and tabs alone part the interpreter from its argument.
    name = re.split(rb"[ \t]", first.removeprefix(b"#!").strip(b" \t"), maxsplit=1)[0]
    if not first.startswith(b"#!") or not name or exists(Path(os.fsdecode(name))):
        return ""
    if name.endswith(b"\r"):
        return "a script whose lines end with CR LF; save it with LF alone"
    interpreter = exact_line(os.fsdecode(name))
    return f"a script for {interpreter}, and there is no such file; correct its first line"


def _installed(version: str, name: str) -> Path:
    """Return the build of a version from where Claude Code's installer keeps them."""
    home = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")  # noqa: PTH111
    folder = Path(home) / "claude" / "versions"
    path = folder / version
    if path.is_file() and os.access(path, os.X_OK):
        return path.absolute()
    entries = os.listdir(folder) if is_folder(folder) else []
    there = [each for each in entries if _VERSION.fullmatch(each)]
    beside = f"there are {', '.join(sorted(there))}" if there else "there is none"
    raise ClaudeNotFound(
        f"{name} names version {version}, and {folder} does not have it: {beside};"
        f" run `claude install {version}`, or give a path"
    )


def _on_path(environ: Mapping[str, str]) -> Path | None:
    # As `shutil.which`, which takes longer to import than the rest of the search.
    path = environ.get("PATH", os.defpath)
    for folder in path.split(os.pathsep) if path else ():
        file = os.path.join(folder, "claude")  # noqa: PTH118
        if os.path.isfile(file) and os.access(file, os.X_OK):  # noqa: PTH113 -- it never raises
            return Path(file).absolute()
    return None


def in_wheel() -> Path | None:
    """Return the `claude` of the installed wheel of claude-agent-sdk; None for none."""
    # Importing claude_agent_sdk takes longer than all the rest of a start; its place is enough.
    from importlib.util import find_spec

    spec = find_spec("claude_agent_sdk")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "_bundled" / "claude"
        if path.is_file() and os.access(path, os.X_OK):
            return path
    return None
