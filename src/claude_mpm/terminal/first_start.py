"""The questions that Claude Code asks a person at its first start, answered beforehand.

It keeps the answers in `.claude.json` of its configuration folder, or of the home where none is
given. (Observed: Claude Code 2.1.330.)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claude_mpm.errors import LaunchError
from claude_mpm.journal.layout import storage_errors, write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping

_OF_A_KEY = 20  # characters at its end, by which Claude knows a key again


def answer_first_questions(environ: Mapping[str, str], cwd: str) -> None:
    """Answer with yes: the folder is trusted, the key of the environment is used.

    Args:
        environ: Claude's variables.
        cwd: the folder that it works in.

    Raises:
        LaunchError: its configuration cannot be read.
        StorageError: it cannot be written.
    """
    folder = Path(environ.get("CLAUDE_CONFIG_DIR") or environ.get("HOME") or "/")
    file = folder / ".claude.json"
    with storage_errors(file):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        known = _read(file)
        wanted = _answered(json.loads(json.dumps(known)), environ, cwd)
        if wanted != known:
            write_whole(file, json.dumps(wanted, indent=2).encode())


def _read(file: Path) -> dict[str, Any]:
    try:
        known = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise LaunchError(f"terminal: {file} is no JSON ({error}); mend or remove it") from error
    return known if isinstance(known, dict) else {}


def _answered(known: dict[str, Any], environ: Mapping[str, str], cwd: str) -> dict[str, Any]:
    known["hasCompletedOnboarding"] = True
    project = known.setdefault("projects", {}).setdefault(cwd, {})
    project["hasTrustDialogAccepted"] = True
    key = environ.get("ANTHROPIC_API_KEY", "")[-_OF_A_KEY:]
    if key:
        answers = known.setdefault("customApiKeyResponses", {"approved": [], "rejected": []})
        approved = answers.setdefault("approved", [])
        if key not in approved:
            approved.append(key)
    return known
