"""What goes on in a batch at the moment, as its runner notes it for those who look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from claude_mpm.journal.storage import write_whole
from claude_mpm.validation import NOT_JSON
from claude_mpm.wire.text_lines import is_claude_code_text

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.conversation.question import Question
    from claude_mpm.wire.events import Event

_FILE = "live.json"
_SHOWN = 100  # characters of what a session does
_GOES_ON = ("assistant", "user", "turn")  # events by which a session shows that it waits no more


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

    def say(self, text: str) -> None:
        """Show what Claude says."""
        self.what = text[:_SHOWN] or self.what

    def ask(self, question: Question) -> None:
        """Show a permission request."""
        self.waits, self.what = True, f"asks for {question.tool}"

    def observe(self, event: Event) -> None:
        """Show what another event says."""
        self.waits = self.waits and event.kind not in _GOES_ON
        if event.kind == "assistant" and not is_claude_code_text(event.data):
            tools = [block.name for block in event.data.message.blocks if block.name]
            self.what = f"runs {tools[-1]}"[:_SHOWN] if tools else self.what


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
