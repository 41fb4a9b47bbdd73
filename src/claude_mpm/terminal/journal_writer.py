"""Writing the journal: Claude's transcripts, and between their lines what only the host knows.

The host's own lines have the form that Claude Code gives such lines on its standard output:
`command_lifecycle` tells what became of a prompt that was typed; `system` with the subtype
`host_state` tells what Claude says of itself, once it is idle or waits for a person, and with
`transcript_changed` that a transcript was rewritten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from claude_mpm.errors import StorageError
from claude_mpm.terminal.claude_config import BUSY, DIALOG, IDLE, WAITING
from claude_mpm.terminal.prompt_typer import lifecycle

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_mpm.terminal.claude_config import Activity
    from claude_mpm.terminal.prompt_typer import PromptTyper
    from claude_mpm.terminal.transcript_copier import Piece, TranscriptCopier

# Seconds of silence after which an idle Claude has written all there is. What it said before it
# was given a prompt may be old: under load it says that it works long after it has begun.
_SETTLED, _SETTLED_IF_OLD = 1.0, 30.0


class JournalWriter:
    """Writes a session's journal, and tries again where the disk is full.

    Args:
        copier: copies the transcripts.
        typer: knows what prompts were typed, and has notes for the journal.
        complain: called with what went wrong.
    """

    def __init__(
        self, copier: TranscriptCopier, typer: PromptTyper, complain: Callable[[str], None]
    ) -> None:
        self._copier = copier
        self._typer = typer
        self._complain = complain
        self._unwritten: list[dict[str, str]] = []
        self._seen: Activity | None = None
        self._told = ""
        self._quiet_since = 0.0
        self._failing = False

    @property
    def waits(self) -> bool:
        """Whether Claude waits for the answer to a question; a dialog may be left as it is."""
        seen = self._seen
        return seen is not None and seen.status == WAITING and seen.waiting_for != DIALOG

    def keep(self, activity: Activity, now: float, *, to_the_end: bool = False) -> None:
        """Write what is new at this moment: the transcripts are read once, here alone.

        Args:
            activity: what Claude says of itself.
            now: the moment, in seconds.
            to_the_end: whether nothing more is to come.
        """
        try:
            self._copier.follow(activity.session_id)
            self._write_notes()
            copied = False
            for piece in self._copier.look(to_the_end=to_the_end):
                copied = True
                self._write_piece(piece, now)
            self._note_state(activity, now, copied)
            self._write_notes()
            self._failing = False
        except (OSError, StorageError) as error:
            if not self._failing:
                self._complain(f"the journal cannot be written: {error}")
            self._failing = True
            self._copier.recover()

    def _write_piece(self, piece: Piece, now: float) -> None:
        """Copy lines, and before that of a prompt the note which it is."""
        begin = end = 0
        for line in piece.data.splitlines(keepends=True) if piece.is_conversation else ():
            heard = self._typer.recognise(line)
            if heard is not None:
                if heard.prompt:
                    if end > begin:
                        self._copier.copy(piece, begin, end)
                    self._write(lifecycle(heard.prompt, heard.state, heard.reason))
                    begin = end
                self._typer.confirm(heard, now)
            end += len(line)
        self._copier.copy(piece, begin)

    def _note_state(self, activity: Activity, now: float, copied: bool) -> None:
        if activity != self._seen or copied:
            self._quiet_since = now
        if activity != self._seen:
            waited = self._told == WAITING
            self._seen, self._told = activity, ""
            if activity.status == WAITING or (activity.status == BUSY and waited):
                self._tell(activity)
        elif activity.status == IDLE != self._told:
            is_old = self._typer.was_said_before(activity)
            if now >= self._quiet_since + (_SETTLED_IF_OLD if is_old else _SETTLED):
                self._tell(activity)

    def _tell(self, activity: Activity) -> None:
        self._told = activity.status
        self._unwritten.append(
            {
                "type": "system",
                "subtype": "host_state",
                "state": activity.status,
                "status": activity.waiting_for,
                "session_id": activity.session_id,
            }
        )

    def _write_notes(self) -> None:
        for message in self._copier.changed:
            self._complain(message)
            change = {"type": "system", "subtype": "transcript_changed", "message": message}
            self._unwritten.append(change)
        self._copier.changed.clear()
        for notes in (self._typer.notes, self._unwritten):
            while notes:
                self._write(notes[0])
                del notes[0]

    def _write(self, note: dict[str, str]) -> None:
        self._copier.note(msgspec.json.encode(note))
