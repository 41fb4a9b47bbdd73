"""What Claude says of itself while it runs on a terminal.

Every `claude` keeps a file `sessions/PID.json` in its configuration folder: which conversation it
holds, and whether it is at work. It is there once no first-start question is left to answer.
(Observed: Claude Code 2.1.330.)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

IDLE, BUSY, WAITING = "idle", "busy", "waiting"
DIALOG = "dialog open"  # what it waits for that is no question of Claude's, but of a person


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


def read_activity(configuration: Path, pid: int) -> Activity:
    """Return what the Claude of this process id says; all empty where it says nothing."""
    try:
        return _decode((configuration / "sessions" / f"{pid}.json").read_bytes())
    except (FileNotFoundError, msgspec.DecodeError):  # it may be just being written
        return Activity()
