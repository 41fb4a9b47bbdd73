"""The journal of a session on a terminal: Claude's transcripts, with lines of the host in between.

The host's lines have the form that Claude Code gives such lines on its standard output:
`command_lifecycle` has the state of a prompt that was typed; `system` with the subtype
`host_state` has Claude's status, once it is idle or waits for the user, and with
`transcript_changed` reports that a transcript was rewritten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from claude_mpm.errors import StorageError
from claude_mpm.terminal.claude_config import BUSY, DIALOG, IDLE, WAITING
from claude_mpm.terminal.prompt_typer import lifecycle

if TYPE_CHECKING:
    from claude_mpm.journal.exchange import ExchangeFile
    from claude_mpm.terminal.claude_config import ClaudeStatus
    from claude_mpm.terminal.prompt_typer import PromptTyper
    from claude_mpm.terminal.transcript_copier import TranscriptChunk, TranscriptCopier

# Seconds of silence after which an idle Claude has written everything. A status from before the
# last prompt may be stale: under load, Claude reports that it works long after it has begun.
_SETTLED, _SETTLED_IF_STALE = 1.0, 30.0


class JournalWriter:
    """Writes a session's journal, and tries again if the disk is full.

    Args:
        copier: copies the transcripts.
        typer: knows which prompts were typed, and has notes for the journal.
        errors: where an error is written, once.
    """

    def __init__(self, copier: TranscriptCopier, typer: PromptTyper, errors: ExchangeFile) -> None:
        self._copier = copier
        self._typer = typer
        self._errors = errors
        self._unwritten: list[dict[str, str]] = []
        self._status: ClaudeStatus | None = None
        self._reported_state = ""
        self._quiet_since = 0.0
        self._failing = False

    @property
    def is_waiting_for_answer(self) -> bool:
        """Whether Claude waits for an answer; a dialog that the user opened needs none."""
        status = self._status
        return status is not None and status.status == WAITING and status.waiting_for != DIALOG

    def write_new(self, status: ClaudeStatus, now: float, *, final: bool = False) -> None:
        """Write what is new; the transcripts are read here alone, once per call.

        Args:
            status: Claude's.
            now: seconds on the monotonic clock.
            final: whether Claude has ended, so that nothing more is written.
        """
        try:
            self._copier.follow(status.session_id)
            self._write_notes()
            copied = False
            for chunk in self._copier.read_new(final=final):
                copied = True
                self._write_chunk(chunk, now)
            self._note_state(status, now, copied)
            self._write_notes()
            self._failing = False
        except (OSError, StorageError) as error:
            if not self._failing:
                self._log_error(f"the journal cannot be written: {error}")
            self._failing = True
            self._copier.recover()

    def _write_chunk(self, chunk: TranscriptChunk, now: float) -> None:
        """Copy lines; that of a prompt after a note of which prompt it is."""
        begin = end = 0
        for line in chunk.data.splitlines(keepends=True) if chunk.is_conversation else ():
            report = self._typer.match(line)
            if report is not None:
                if report.prompt:
                    if end > begin:
                        self._copier.copy(chunk, begin, end)
                    self._write(lifecycle(report.prompt, report.state, report.reason))
                    begin = end
                self._typer.confirm(report, now)
            end += len(line)
        self._copier.copy(chunk, begin)

    def _note_state(self, status: ClaudeStatus, now: float, copied: bool) -> None:
        if status != self._status or copied:
            self._quiet_since = now
        if status != self._status:
            waited = self._reported_state == WAITING
            self._status, self._reported_state = status, ""
            if status.status == WAITING or (status.status == BUSY and waited):
                self._report_state(status)
        elif status.status == IDLE != self._reported_state:
            is_stale = self._typer.is_stale(status)
            if now >= self._quiet_since + (_SETTLED_IF_STALE if is_stale else _SETTLED):
                self._report_state(status)

    def _report_state(self, status: ClaudeStatus) -> None:
        self._reported_state = status.status
        self._unwritten.append(
            {
                "type": "system",
                "subtype": "host_state",
                "state": status.status,
                "status": status.waiting_for,
                "session_id": status.session_id,
            }
        )

    def _log_error(self, message: str) -> None:
        self._errors.append(f"{message}\n".encode())

    def _write_notes(self) -> None:
        for message in self._copier.rewritten:
            self._log_error(message)
            change = {"type": "system", "subtype": "transcript_changed", "message": message}
            self._unwritten.append(change)
        self._copier.rewritten.clear()
        for notes in (self._typer.notes, self._unwritten):
            while notes:
                self._write(notes[0])
                del notes[0]

    def _write(self, note: dict[str, str]) -> None:
        self._copier.append_line(msgspec.json.encode(note))
