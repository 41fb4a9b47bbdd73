"""Where the `claude` command is: asked for, on PATH, or in the wheel of the extra `claude`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from claude_mpm.errors import ClaudeNotFound
from claude_mpm.validation import exists

if TYPE_CHECKING:
    from collections.abc import Mapping


def find_claude(configured: str | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """Return the absolute path of the `claude` to run; called at each start.

    `configured` is the setting `claude_path`; without it the variable CLAUDE_PATH of `environ`
    (default: that of this process) counts, then `claude` on PATH, then the one in the wheel.
    Raises ClaudeNotFound where there is none, and where the one asked for cannot be run.
    """
    variables = os.environ if environ is None else environ
    variable = variables.get("CLAUDE_PATH")
    if asked := configured or variable:
        # The settings pass the variable on; the message names what the person wrote.
        return _asked_for(asked, "CLAUDE_PATH" if asked == variable else "claude_path")
    found = _on_path(variables) or _in_wheel()
    if found is None:
        raise ClaudeNotFound(
            "no `claude` on PATH, by CLAUDE_PATH or in the extra `claude`; install Claude Code, "
            "or the package that brings it along: pip install claude-agent-sdk"
        )
    return found


def _asked_for(text: str, name: str) -> Path:
    path = Path(os.path.expanduser(text)).absolute()  # noqa: PTH111 - never raises, for any `~`
    advice = f"correct {name}, or leave it out to take the `claude` on PATH"
    if not exists(path):
        raise ClaudeNotFound(f"{name} names {path}, and there is no such file; {advice}")
    if not path.is_file():
        raise ClaudeNotFound(f"{name} names {path}, which is not a file; {advice}")
    if not os.access(path, os.X_OK):
        raise ClaudeNotFound(f"{name} names {path}, which is not executable; {advice}")
    return path


def _on_path(environ: Mapping[str, str]) -> Path | None:
    import shutil

    found = shutil.which("claude", path=environ.get("PATH", os.defpath))
    return Path(found).absolute() if found else None


def _in_wheel() -> Path | None:
    # Importing claude_agent_sdk takes longer than all the rest of a start; its place is enough.
    from importlib.util import find_spec

    spec = find_spec("claude_agent_sdk")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "_bundled" / "claude"
        if path.is_file() and os.access(path, os.X_OK):
            return path
    return None
