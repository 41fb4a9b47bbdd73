"""What goes on in a batch at the moment, as its runner notes it for those who look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from claude_mpm.journal.storage import write_whole
from claude_mpm.validation import NOT_JSON

if TYPE_CHECKING:
    from pathlib import Path

_FILE = "live.json"


class Live(msgspec.Struct, kw_only=True):
    """What a session of a batch does at the moment.

    Args:
        what: the last that it said or did.
        waits: whether it waits for a person's answer.
        since: when the attempt began, in seconds since the epoch.
    """

    task: str
    place: str
    session: str
    since: float
    what: str = "starting"
    waits: bool = False


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What goes on in a batch, as its runner has noted it last.

    Args:
        parked: until when accounts are parked, by their names.
    """

    at: float
    running: list[Live]
    parked: dict[str, float] = {}


def write_snapshot(folder: Path, snapshot: Snapshot) -> None:
    """Note what goes on.

    Raises:
        OSError: the disk does not take it.
    """
    write_whole(folder / _FILE, msgspec.json.encode(snapshot) + b"\n")


def remove_snapshot(folder: Path) -> None:
    """Forget it, once nothing goes on any more."""
    (folder / _FILE).unlink(missing_ok=True)


def read_snapshot(folder: Path) -> Snapshot | None:
    """Return what a runner has noted last; None where there is nothing."""
    try:
        return msgspec.json.decode((folder / _FILE).read_bytes(), type=Snapshot)
    except (FileNotFoundError, *NOT_JSON):
        return None
