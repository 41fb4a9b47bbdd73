"""A prompt that waits for the rate limit, stored in the session's folder to survive crashes."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.journal.prompts import prompts
from claude_mpm.validation import NOT_JSON

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder


class Parked(msgspec.Struct, frozen=True, kw_only=True):
    """The prompt that is sent to Claude when the rate limit is lifted.

    Args:
        prompt: the uuid of the prompt that was refused.
        uuid: that of the prompt that replaces it.
        text: of the replacement.
        until: when the limit is lifted, in seconds since the epoch.
        times: how often the turn has waited, including this time.
        command: whether Claude Code treats the text as typed.
    """

    prompt: str
    uuid: str
    text: str
    until: float
    times: int = 1
    command: bool = False


def park(folder: SessionFolder, parked: Parked) -> None:
    """Store a prompt that waits.

    Raises:
        StorageError: it could not be stored.
    """
    folder.write(folder.parked, msgspec.json.encode(parked) + b"\n")


def read_parked(folder: SessionFolder) -> Parked | None:
    """Return the prompt that waits; None if there is none, or it was sent again already."""
    try:
        parked = msgspec.json.decode(folder.parked.read_bytes(), type=Parked)
    except (FileNotFoundError, *NOT_JSON):
        return None
    was_sent = any(prompt.uuid == parked.uuid for prompt in prompts(folder))
    return None if was_sent else parked


def unpark(folder: SessionFolder) -> None:
    """Remove the prompt that waits; safe to call twice."""
    folder.parked.unlink(missing_ok=True)


def clock(at: float) -> str:
    """Return a local time for the user: 14:30, with the date if that is not today."""
    try:
        when = datetime.fromtimestamp(at)
    except (ValueError, OverflowError, OSError):
        return "a time that is none"
    same_day = when.date() == datetime.now().date()
    return when.strftime("%H:%M" if same_day else "%Y-%m-%d %H:%M")
