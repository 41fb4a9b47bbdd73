"""The journal of a session on a terminal: what Claude writes into its transcripts, line for line.

Claude Code keeps a transcript of each conversation in its configuration folder, and one of each
subagent beside it. Whole lines are copied as they are. `/clear` begins a new conversation, which
is followed as well.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.checks import NOT_JSON

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.journal.layout import SessionFolder

_CHUNK = 1 << 20


class _Progress(msgspec.Struct):
    """How far the transcripts were copied; kept in a file, so that a killed host repeats nothing.

    It is written before a copy: whatever the journal has grown since is of `copying`.

    Args:
        conversation: the last one that Claude held.
        read: how many bytes of each transcript were copied.
        copying: the transcript that is copied from, while it is.
        journal: how long the journal was before.
    """

    conversation: str = ""
    read: dict[str, int] = {}
    copying: str = ""
    journal: int = 0


class TranscriptCopier:
    """Copies the transcripts of a session into its journal.

    Args:
        folder: the session's.
        configuration: Claude's configuration folder.
        own: the conversation that the session began with.
    """

    def __init__(self, folder: SessionFolder, configuration: Path, own: str) -> None:
        self._file = folder.transcripts
        self._write_whole = folder.write
        self._projects = configuration / "projects"
        self._journal = os.open(folder.journal, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._progress = self._recovered()
        # What was there before is the history of other sessions; a person may choose to go on
        # with one of them here.
        self._before = {
            str(path): path.stat().st_size
            for path in self._projects.glob("*/*.jsonl")
            if path.stem != own
        }
        self._found: dict[str, Path] = {}
        self._sizes: dict[Path, int] = {}

    @property
    def conversation(self) -> str:
        """The conversation that Claude held last; empty before the first."""
        return self._progress.conversation

    def has_transcript(self, conversation: str) -> bool:
        """Tell whether there is a conversation that can be gone on with."""
        return self._transcript(conversation) is not None

    def follow(self, conversation: str) -> None:
        """Copy the transcript of this conversation, too, from now on."""
        if conversation and conversation != self._progress.conversation:
            self._progress.conversation = conversation
            self._keep()

    def copy(self, *, to_the_end: bool = False) -> bool:
        """Copy what is new; tell whether there was anything.

        Subagents come first, and the conversation no further than it was a look ago: so what a
        subagent said stands before its report to the conversation.

        Args:
            to_the_end: whether nothing more is to come.
        """
        self._transcript(self._progress.conversation)
        conversations = list(self._found.values())
        subagents = [path for each in conversations for path in _subagents(each)]
        copied = [self._copy_from(path) for path in subagents]
        for path in conversations:
            ready = self._sizes.get(path, 0) if subagents and not to_the_end else None
            self._sizes[path] = _size(path)
            copied.append(self._copy_from(path, ready))
        return any(copied)

    def recover(self) -> None:
        """Find out how far the last copy came, which failed."""
        self._progress = self._recovered()

    def awaited(self) -> list[bytes]:
        """Return the lines that the next `copy` begins with, of the conversation alone."""
        path = self._transcript(self._progress.conversation)
        return [] if path is None else self._next(path, None).splitlines()

    def note(self, line: bytes) -> None:
        """Write a line of the host's own."""
        self._keep()
        self._append(line + b"\n")

    def close(self) -> None:
        """Let go of the journal."""
        os.close(self._journal)

    def _recovered(self) -> _Progress:
        try:
            progress = msgspec.json.decode(self._file.read_bytes(), type=_Progress)
        except (FileNotFoundError, *NOT_JSON):
            return _Progress()
        if progress.copying:
            copied = os.fstat(self._journal).st_size - progress.journal
            progress.read[progress.copying] = progress.read.get(progress.copying, 0) + copied
            progress.copying = ""
        return progress

    def _keep(self, copying: str = "") -> None:
        self._progress.copying = copying
        self._progress.journal = os.fstat(self._journal).st_size
        self._write_whole(self._file, msgspec.json.encode(self._progress))

    def _transcript(self, conversation: str) -> Path | None:
        if conversation and conversation not in self._found:
            found = next(self._projects.glob(f"*/{conversation}.jsonl"), None)
            if found is not None:
                self._found[conversation] = found
        return self._found.get(conversation)

    def _next(self, path: Path, end: int | None) -> bytes:
        """Return whole lines that were not copied yet, as far as `end`."""
        name = str(path)
        begin = self._progress.read.setdefault(name, self._before.get(name, 0))
        left = None if end is None else end - begin
        with path.open("rb") as transcript:
            transcript.seek(begin)
            data = transcript.read(_CHUNK if left is None else max(0, min(left, _CHUNK)))
            while data and b"\n" not in data and (more := transcript.read(_CHUNK)):
                data += more
        return data[: data.rfind(b"\n") + 1]

    def _copy_from(self, path: Path, end: int | None = None) -> bool:
        copied = False
        with suppress(FileNotFoundError):
            while data := self._next(path, end):
                self._keep(str(path))
                self._append(data)
                self._progress.read[str(path)] += len(data)
                copied = True
        return copied

    def _append(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._journal, data) :]


def _subagents(conversation: Path) -> list[Path]:
    return sorted((conversation.with_suffix("") / "subagents").glob("*.jsonl"))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
