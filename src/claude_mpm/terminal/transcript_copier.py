"""The journal of a session on a terminal: what Claude writes into its transcripts, line for line.

Claude Code keeps a transcript of each conversation in its configuration folder, and one of each
subagent beside it. Whole lines are copied as they are. `/clear` begins a new conversation, which
is followed as well. A transcript that got shorter, or was replaced, is read again from its
beginning: what the journal has already is known by its `uuid`, or by its bytes where it has none.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.journal.cursor import read_lines
from claude_mpm.validation import NOT_JSON

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from claude_mpm.journal.layout import SessionFolder

_CHUNK = 1 << 20
_TAIL = 256  # bytes before the place that was read to, by which a file is known again


class _Progress(msgspec.Struct):
    """How far the transcripts were copied; kept in a file, so that a killed host repeats nothing.

    It is written before a copy: whatever the journal has grown since is of `copying`.

    Args:
        conversation: the last one that Claude held.
        read: how many bytes of each transcript were copied.
        begun: where each was begun with that other sessions had written to before.
        again: up to where each is read again that was rewritten.
        tails: of each, the last bytes that were read: their end, their number, and a hash.
        copying: the transcript that is copied from, while it is.
        journal: how long the journal was before.
    """

    conversation: str = ""
    read: dict[str, int] = {}
    begun: dict[str, int] = {}
    again: dict[str, int] = {}
    tails: dict[str, tuple[int, int, str]] = {}
    copying: str = ""
    journal: int = 0


class Piece(msgspec.Struct, frozen=True):
    """Whole lines of a transcript that the journal does not have.

    Args:
        path: of the transcript.
        data: the lines.
        length: how many bytes they take up there; some may be left out.
        is_conversation: whether they are the conversation's own, and no subagent's.
    """

    path: str
    data: bytes
    length: int
    is_conversation: bool


class TranscriptCopier:
    """Copies the transcripts of a session into its journal.

    Args:
        folder: the session's.
        configuration: Claude's configuration folder.
        own: the conversation that the session began with.

    Attributes:
        changed: what is to be said of transcripts that were rewritten; whoever says it removes it.
    """

    def __init__(self, folder: SessionFolder, configuration: Path, own: str) -> None:
        self.changed: list[str] = []
        self._folder = folder
        self._projects = configuration / "projects"
        self._known: dict[str, set[bytes]] = {}  # what the journal has, of files read again
        self._journal = folder.journal.open_to_append()
        self._progress = self._recovered()
        # What was there before is the history of other sessions; a person may choose to go on
        # with one of them here.
        self._before = {
            str(path): path.stat().st_size
            for path in self._projects.glob("*/*.jsonl")
            if path.stem != own
        }
        self._found: dict[str, Path] = {}
        self._sizes: dict[str, int] = {}
        self._seen: dict[str, tuple[int, ...]] = {}  # what each file was like at the last look
        self._unsaid: dict[str, str] = {}  # what happened to those read again

    @property
    def conversation(self) -> str:
        """The conversation that Claude held last; empty before the first."""
        return self._progress.conversation

    def has_transcript(self, conversation: str) -> bool:
        """Return whether there is a conversation that can be gone on with."""
        return self._transcript(conversation) is not None

    def follow(self, conversation: str) -> None:
        """Copy the transcript of this conversation, too, from now on."""
        if conversation and conversation != self._progress.conversation:
            self._progress.conversation = conversation
            self._keep()

    def look(self, *, to_the_end: bool = False) -> Iterator[Piece]:
        """Yield what is new, each piece read once; it counts as read once `copy` was called for it.

        Subagents come first, and the conversation no further than it was a look ago: so what a
        subagent said stands before its report to the conversation.

        Args:
            to_the_end: whether nothing more is to come.
        """
        self._transcript(self._progress.conversation)
        conversations = list(self._found.values())
        subagents = [path for each in conversations for path in _subagents(each)]
        for path in subagents:
            yield from self._pieces(path, None, is_conversation=False)
        for path in conversations:
            ready = self._sizes.get(str(path), 0) if subagents and not to_the_end else None
            self._sizes[str(path)] = _size(path)
            yield from self._pieces(path, ready, is_conversation=True)

    def copy(self, piece: Piece, begin: int = 0, end: int | None = None) -> None:
        """Append a part of a piece to the journal; the piece is read with its last part."""
        data = piece.data[begin:end]
        self._keep(piece.path)
        self._append(data)
        last = end is None or end == len(piece.data)
        # What was left out of a piece goes with its last part.
        self._progress.read[piece.path] += len(data) + last * (piece.length - len(piece.data))

    def recover(self) -> None:
        """Find out how far the last copy came, which failed."""
        self._progress = self._recovered()

    def note(self, line: bytes) -> None:
        """Write a line of the host's own."""
        self._keep()
        self._append(line + b"\n")

    def close(self) -> None:
        """Close the journal."""
        os.close(self._journal)

    # --- how far ----------------------------------------------------------------------------

    def _recovered(self) -> _Progress:
        try:
            data = self._folder.transcripts.read_bytes()
            progress = msgspec.json.decode(data, type=_Progress)
        except (FileNotFoundError, *NOT_JSON):
            return _Progress()
        name = progress.copying
        if name in progress.again:  # the next look leaves out what the journal has by now
            progress.read[name] = 0
        elif name:
            copied = os.fstat(self._journal).st_size - progress.journal
            progress.read[name] = progress.read.get(name, 0) + copied
        progress.copying = ""
        self._known.clear()
        return progress

    def _keep(self, copying: str = "") -> None:
        self._progress.copying = copying
        self._progress.journal = os.fstat(self._journal).st_size
        self._folder.write(self._folder.transcripts, msgspec.json.encode(self._progress))

    def _transcript(self, conversation: str) -> Path | None:
        if conversation and conversation not in self._found:
            found = next(self._projects.glob(f"*/{conversation}.jsonl"), None)
            if found is not None:
                self._found[conversation] = found
        return self._found.get(conversation)

    def _begin(self, name: str) -> int:
        progress = self._progress
        if name not in progress.read:
            progress.read[name] = self._before.get(name, 0)
            if progress.read[name]:
                progress.begun[name] = progress.read[name]
        return progress.read[name]

    # --- reading ----------------------------------------------------------------------------

    def _pieces(self, path: Path, end: int | None, *, is_conversation: bool) -> Iterator[Piece]:
        descriptor = _open(path)
        if descriptor is None:
            return
        name = str(path)
        try:
            self._notice_rewriting(name, descriptor)
            while data := self._next(name, descriptor, end):
                kept = self._without_known(name, data)
                yield Piece(name, kept, len(data), is_conversation)
                tail = data[-_TAIL:]
                self._progress.tails[name] = self._progress.read[name], len(tail), _hash(tail)
        finally:
            os.close(descriptor)

    def _next(self, name: str, descriptor: int, end: int | None) -> bytes:
        """Return whole lines that were not copied yet, as far as `end`."""
        begin = self._begin(name)
        wanted = _CHUNK if end is None else min(max(0, end - begin), _CHUNK)
        data = os.pread(descriptor, wanted, begin)
        while data and b"\n" not in data:
            more = os.pread(descriptor, _CHUNK, begin + len(data))
            if not more:
                break
            data += more
        return data[: data.rfind(b"\n") + 1]

    def _append(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._journal, data) :]

    # --- what was rewritten -----------------------------------------------------------------

    def _notice_rewriting(self, name: str, descriptor: int) -> None:
        """Have a file read again that is no longer what was read."""
        begin, state = self._begin(name), os.fstat(descriptor)
        seen = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
        before, self._seen[name] = self._seen.get(name, seen), seen
        if not begin:
            return
        if state.st_size < begin:
            self._read_again(name, state.st_size, "has got shorter")
        elif seen[:2] != before[:2]:
            self._read_again(name, state.st_size, "was replaced")
        elif not self._has_tail(name, descriptor):
            self._read_again(name, state.st_size, "was rewritten")
        elif seen != before and seen[2] == before[2]:  # or it was but touched
            self._read_again(name, state.st_size, "was rewritten", surely=False)

    def _has_tail(self, name: str, descriptor: int) -> bool:
        """Return whether the last bytes that were read are still there."""
        if name not in self._progress.tails:
            return True
        end, length, known = self._progress.tails[name]
        return _hash(os.pread(descriptor, length, end - length)) == known

    def _read_again(self, name: str, size: int, what: str, *, surely: bool = True) -> None:
        progress = self._progress
        progress.tails.pop(name, None)
        self._known.pop(name, None)
        self._unsaid[name] = what
        if progress.begun.get(name):  # what other sessions wrote there is not ours
            progress.read[name] = progress.begun[name] = size
        else:
            progress.read[name], progress.again[name] = 0, size
        if surely:
            self._say(name)

    def _say(self, name: str) -> None:
        what = self._unsaid.pop(name, "")
        if what:
            self.changed.append(f"Claude's transcript {name} {what}; what is new in it is read")

    def _without_known(self, name: str, data: bytes) -> bytes:
        """Leave out what the journal has, of a file that is read again."""
        progress = self._progress
        if name not in progress.again:
            return data
        if progress.read[name] >= progress.again[name]:
            del progress.again[name]
            self._known.pop(name, None)
            return data
        if name not in self._known:
            lines = read_lines(self._folder.journal)
            self._known[name] = {_identity(line.data) for line in lines}
        known = self._known[name]
        kept = [line for line in data.splitlines(keepends=True) if _identity(line) not in known]
        if kept:
            self._say(name)
        return b"".join(kept)


class _Identified(msgspec.Struct):
    uuid: str = ""


_decode = msgspec.json.Decoder(_Identified).decode


def _identity(line: bytes) -> bytes:
    """Return by what a line is known again: its `uuid`, or its bytes where it has none."""
    try:
        uuid = _decode(line).uuid
    except NOT_JSON:
        uuid = ""
    return uuid.encode() if uuid else _hash(line.rstrip(b"\n")).encode()


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _open(path: Path) -> int | None:
    """Open a transcript for reading; None where there is none: a FIFO would block us."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def _subagents(conversation: Path) -> list[Path]:
    return sorted((conversation.with_suffix("") / "subagents").glob("*.jsonl"))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
