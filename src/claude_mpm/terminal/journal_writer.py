"""Keeping the journal: Claude's transcripts, and between their lines what only the host knows.

The host's own lines have the form that Claude Code gives such lines on its standard output:
`command_lifecycle` tells that a prompt was typed, and which; `system` with the subtype
`host_state` tells what Claude says of itself, once it is idle or waits for a person.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from claude_mpm.errors import StorageError
from claude_mpm.terminal.claude_config import BUSY, DIALOG, IDLE, WAITING

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_mpm.terminal.claude_config import Activity
    from claude_mpm.terminal.transcript_copier import TranscriptCopier

_SETTLED = 1.0  # seconds of silence after which an idle Claude has written all there is
_BY_A_PERSON = frozenset({"typed", "queued"})


class _UserLine(msgspec.Struct):
    type: str = ""
    promptSource: str = ""  # noqa: N815 -- the name in the transcript


_decode = msgspec.json.Decoder(_UserLine).decode


class JournalWriter:
    """Writes a session's journal, and tries again where the disk is full.

    Args:
        copier: copies the transcripts.
        complain: called with what went wrong.
    """

    def __init__(self, copier: TranscriptCopier, complain: Callable[[str], None]) -> None:
        self._copier = copier
        self._complain = complain
        self._unwritten: list[bytes] = []
        self._seen: Activity | None = None
        self._told = ""
        self._quiet_since = 0.0
        self._failing = False

    @property
    def waits(self) -> bool:
        """Whether Claude waits for the answer to a question; a dialog may be left as it is."""
        seen = self._seen
        return seen is not None and seen.status == WAITING and seen.waiting_for != DIALOG

    def prompt_waits(self) -> bool:
        """Tell whether a prompt that was typed is in the transcript, and not in the journal yet."""
        return any(_is_typed(line) for line in self._copier.awaited())

    def note_prompt(self, uuid: str, state: str) -> None:
        """Note what became of a prompt that was put into the inbox."""
        self._note({"type": "command_lifecycle", "command_uuid": uuid, "state": state})

    def keep(self, activity: Activity, now: float, *, to_the_end: bool = False) -> None:
        """Write what is new at this moment.

        Args:
            activity: what Claude says of itself.
            now: the moment, in seconds.
            to_the_end: whether nothing more is to come.
        """
        try:
            self._copier.follow(activity.session_id)
            self._write_notes()
            copied = self._copier.copy(to_the_end=to_the_end)
            self._note_state(activity, now, copied)
            self._write_notes()
            self._failing = False
        except (OSError, StorageError) as error:
            if not self._failing:
                self._complain(f"the journal cannot be written: {error}")
            self._failing = True
            self._copier.recover()

    def _note_state(self, activity: Activity, now: float, copied: bool) -> None:
        if activity != self._seen or copied:
            self._quiet_since = now
        if activity != self._seen:
            waited = self._told == WAITING
            self._seen, self._told = activity, ""
            if activity.status == WAITING or (activity.status == BUSY and waited):
                self._tell(activity)
        elif activity.status == IDLE != self._told and now >= self._quiet_since + _SETTLED:
            self._tell(activity)

    def _tell(self, activity: Activity) -> None:
        self._told = activity.status
        self._note(
            {
                "type": "system",
                "subtype": "host_state",
                "state": activity.status,
                "status": activity.waiting_for,
                "session_id": activity.session_id,
            }
        )

    def _note(self, line: dict[str, str]) -> None:
        self._unwritten.append(msgspec.json.encode(line))

    def _write_notes(self) -> None:
        while self._unwritten:
            self._copier.note(self._unwritten[0])
            del self._unwritten[0]


def _is_typed(line: bytes) -> bool:
    if b'"promptSource"' not in line:
        return False
    found = _decode(line)
    return found.type == "user" and found.promptSource in _BY_A_PERSON
