"""What Claude Code keeps in its configuration folder that a terminal's host reads or sets.

Every `claude` keeps a file `sessions/PID.json` there: which conversation it holds, and whether it
is at work. It is there once no first-start question is left to answer. The answers to these
questions are in `.claude.json`, in the same folder, or in the home where none is given.
(Observed: Claude Code 2.1.330.)
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.errors import LaunchError
from claude_mpm.folders import make_private
from claude_mpm.journal.storage import storage_errors, write_whole
from claude_mpm.validation import NOT_JSON

if TYPE_CHECKING:
    from collections.abc import Mapping

IDLE, BUSY, WAITING = "idle", "busy", "waiting"
DIALOG = "dialog open"  # what it waits for that is no question of Claude's, but of a person
_LONGEST = 1 << 16  # bytes of what Claude says of itself
_OF_A_KEY = 20  # characters at its end, by which Claude knows a key again


class Activity(msgspec.Struct, frozen=True, rename="camel"):
    """What the file says.

    Args:
        session_id: the conversation.
        status: "idle", "busy", "waiting" for a person; empty while Claude begins.
        waiting_for: what it waits for: "permission prompt", "dialog open".
        status_updated_at: when it last changed; what is compared with itself alone.
    """

    session_id: str = ""
    status: str = ""
    waiting_for: str = ""
    status_updated_at: float = 0.0


_decode = msgspec.json.Decoder(Activity).decode


def configuration_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder in which a Claude with these variables keeps everything."""
    given = environ.get("CLAUDE_CONFIG_DIR")
    return Path(given) if given else Path(environ.get("HOME") or "/", ".claude")


def read_activity(configuration: Path, pid: int) -> Activity | None:
    """Return what the Claude of this process id says; all empty where there is no such file.

    None where it cannot be read at this moment: it may be just being written.
    """
    file = configuration / "sessions" / f"{pid}.json"
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO blocks
    except FileNotFoundError:
        return Activity()
    except OSError:
        return None
    try:
        return _decode(os.read(descriptor, _LONGEST))
    except (OSError, *NOT_JSON):
        return None
    finally:
        os.close(descriptor)


def answer_first_questions(environ: Mapping[str, str], cwd: str) -> None:
    """Answer with yes: the folder is trusted, the key of the environment is used.

    Claude asks by the path without links and `..`, which is what it finds itself in.

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
        make_private(folder)
        known = _read(file)
        wanted = _answered(json.loads(json.dumps(known)), environ, cwd)
        if wanted != known:
            write_whole(file, json.dumps(wanted, indent=2).encode())


def _read(file: Path) -> dict[str, Any]:
    try:
        known = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise LaunchError(f"terminal: {file} is no JSON ({error}); mend or remove it") from error
    return known if isinstance(known, dict) else {}


def _answered(known: dict[str, Any], environ: Mapping[str, str], cwd: str) -> dict[str, Any]:
    known["hasCompletedOnboarding"] = True
    project = known.setdefault("projects", {}).setdefault(os.path.realpath(cwd), {})
    project["hasTrustDialogAccepted"] = True
    key = environ.get("ANTHROPIC_API_KEY", "")[-_OF_A_KEY:]
    if key:
        answers = known.setdefault("customApiKeyResponses", {"approved": [], "rejected": []})
        approved = answers.setdefault("approved", [])
        if key not in approved:
            approved.append(key)
    return known
