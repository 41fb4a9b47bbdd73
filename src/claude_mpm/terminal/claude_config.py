"""The files of Claude Code's configuration folder that a terminal host reads or writes.

Every `claude` keeps a file `sessions/PID.json` there, with its conversation and its status. It
exists once all questions of the first start are answered. The answers to these questions are in
`.claude.json`, in the same folder, or in the home folder if none is configured.
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
DIALOG = "dialog open"  # it waits in a dialog that the user has opened, and not for an answer
_LONGEST = 1 << 16  # bytes of a status file
_KEY_SUFFIX = 20  # characters at the end of a key, by which Claude recognizes it


class ClaudeStatus(msgspec.Struct, frozen=True, rename="camel"):
    """The status that a Claude reports in its file.

    Args:
        session_id: the conversation.
        status: "idle", "busy", "waiting" for the user; empty while Claude starts.
        waiting_for: what it waits for: "permission prompt", "dialog open".
        status_updated_at: when it last changed, in a unit of Claude's; only compared for equality.
    """

    session_id: str = ""
    status: str = ""
    waiting_for: str = ""
    status_updated_at: float = 0.0


_decode = msgspec.json.Decoder(ClaudeStatus).decode


def configuration_folder(environ: Mapping[str, str]) -> Path:
    """Return the configuration folder of a Claude with these environment variables."""
    configured = environ.get("CLAUDE_CONFIG_DIR")
    return Path(configured) if configured else Path(environ.get("HOME") or "/", ".claude")


def read_claude_status(configuration: Path, pid: int) -> ClaudeStatus | None:
    """Return the status of the Claude with this process id; all empty if there is no such file.

    None if it cannot be read now: it may be being written.
    """
    file = configuration / "sessions" / f"{pid}.json"
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO blocks
    except FileNotFoundError:
        return ClaudeStatus()
    except OSError:
        return None
    try:
        return _decode(os.read(descriptor, _LONGEST))
    except (OSError, *NOT_JSON):
        return None
    finally:
        os.close(descriptor)


def answer_first_questions(environ: Mapping[str, str], cwd: str) -> None:
    """Answer the questions of Claude's first start: trust the folder, use the environment's key.

    Claude looks up the folder by its real path.

    Args:
        environ: Claude's environment variables.
        cwd: its working folder.

    Raises:
        LaunchError: its configuration cannot be read.
        StorageError: it cannot be written.
    """
    folder = Path(environ.get("CLAUDE_CONFIG_DIR") or environ.get("HOME") or "/")
    file = folder / ".claude.json"
    with storage_errors(file):
        make_private(folder)
        before = _read(file)
        after = _with_answers(json.loads(json.dumps(before)), environ, cwd)
        if after != before:
            write_whole(file, json.dumps(after, indent=2).encode())


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise LaunchError(f"terminal: {file} is no JSON ({error}); mend or remove it") from error
    return content if isinstance(content, dict) else {}


def _with_answers(config: dict[str, Any], environ: Mapping[str, str], cwd: str) -> dict[str, Any]:
    config["hasCompletedOnboarding"] = True
    project = config.setdefault("projects", {}).setdefault(os.path.realpath(cwd), {})
    project["hasTrustDialogAccepted"] = True
    key = environ.get("ANTHROPIC_API_KEY", "")[-_KEY_SUFFIX:]
    if key:
        answers = config.setdefault("customApiKeyResponses", {"approved": [], "rejected": []})
        approved = answers.setdefault("approved", [])
        if key not in approved:
            approved.append(key)
    return config
