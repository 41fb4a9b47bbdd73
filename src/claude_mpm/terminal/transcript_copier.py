"""Copies Claude's transcripts into the journal of a session on a terminal, line by line.

Claude Code writes a transcript of each conversation in its configuration folder, and one of each
subagent beside it. Whole lines are copied as they are. `/clear` begins a new conversation, which
is followed as well. A transcript that got shorter, or was replaced, is read again from its
beginning: lines that the journal already has are recognized by their `uuid`, or by their bytes.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.journal.cursor import read_lines
from claude_mpm.validation import NOT_JSON
from claude_mpm.wire.framing import LONGEST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from claude_mpm.journal.layout import SessionFolder

_CHUNK = 1 << 20
_TAIL = 256  # last bytes that were read, whose hash shows whether a file was rewritten


class _Progress(msgspec.Struct):
    """How far the transcripts were copied; stored in a file, so that a killed host repeats nothing.

    It is written before each copy: what the journal has grown since is from `copying`.

    Args:
        conversation: the last one.
        read: how many bytes of each transcript were copied.
        begun: where copying began, for transcripts with earlier lines of other sessions.
        again: the size up to which a rewritten transcript is read again.
        tails: of each, the last bytes that were read: their end, their number, and a hash.
        copying: the transcript that is being copied; empty in between.
        journal: the size of the journal before that, in bytes.
    """

    conversation: str = ""
    read: dict[str, int] = {}
    begun: dict[str, int] = {}
    again: dict[str, int] = {}
    tails: dict[str, tuple[int, int, str]] = {}
    copying: str = ""
    journal: int = 0

    def begin(self, copying: str, journal: int) -> None:
        """Note which transcript is about to be copied; none, where `copying` is empty.

        Args:
            journal: the size of the journal before, in bytes.
        """
        self.copying, self.journal = copying, journal

    def settle(self, journal: int) -> None:
        """Count what the journal has grown by to the transcript that was being copied.

        Args:
            journal: its size now, in bytes.
        """
        name = self.copying
        if name in self.again:  # read again: lines that the journal has are left out
            self.read[name] = 0
        elif name:
            self.read[name] = self.read.get(name, 0) + journal - self.journal
        self.copying = ""

    def go_on_with(self, conversation: str) -> None:
        """Set which conversation is the last."""
        self.conversation = conversation


class TranscriptChunk(msgspec.Struct, frozen=True):
    """Whole lines of a transcript that the journal does not have.

    Args:
        path: of the transcript.
        data: the lines.
        length: how many bytes of the transcript they cover; some lines may be left out.
        is_conversation: whether they are of the conversation, and not of a subagent.
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
        rewritten: messages about rewritten transcripts; the caller clears it.
    """

    def __init__(self, folder: SessionFolder, configuration: Path, own: str) -> None:
        self.rewritten: list[str] = []
        self._folder = folder
        self._projects = configuration / "projects"
        # Identities of the journal's lines, by the transcript that is read again.
        self._journal_lines: dict[str, set[bytes]] = {}
        self._journal = folder.journal.open_to_append()
        self._progress = self._load_progress()
        # What exists now are the conversations of other sessions; the user may resume one here.
        self._initial_sizes = {
            str(path): _size(path) for path in self._projects.glob("*/*.jsonl") if path.stem != own
        }
        self._transcripts: dict[str, Path] = {}
        self._sizes: dict[str, int] = {}
        self._file_states: dict[str, tuple[int, ...]] = {}  # of each file, when it was last read
        self._unreported: dict[str, str] = {}  # rewrites that are not in `rewritten` yet

    @property
    def conversation(self) -> str:
        """The last conversation; empty before the first."""
        return self._progress.conversation

    def has_transcript(self, conversation: str) -> bool:
        """Return whether a conversation exists, and so can be resumed."""
        return self._transcript(conversation) is not None

    def follow(self, conversation: str) -> None:
        """Copy the transcript of this conversation too from now on."""
        if conversation and conversation != self._progress.conversation:
            self._progress.go_on_with(conversation)
            self._save_progress()

    def follow_file(self, conversation: str, path: Path) -> None:
        """Copy the transcript of a conversation that lies anywhere, from its beginning."""
        self._transcripts[conversation] = path
        self._initial_sizes.pop(str(path), None)
        self.follow(conversation)

    def read_new(self, *, final: bool = False) -> Iterator[TranscriptChunk]:
        """Yield new lines; a chunk counts as read once `copy` was called for it.

        Subagents come first, and the conversation only up to its size at the previous call: so a
        subagent's lines precede its report to the conversation.

        Args:
            final: whether Claude has ended, so that the conversation is read to its end.
        """
        self._transcript(self._progress.conversation)
        conversations = list(self._transcripts.values())
        subagents = [path for parent in conversations for path in _subagents(parent)]
        for path in subagents:
            yield from self._chunks(path, None, is_conversation=False)
        for path in conversations:
            ready = self._sizes.get(str(path), 0) if subagents and not final else None
            self._sizes[str(path)] = _size(path)
            yield from self._chunks(path, ready, is_conversation=True)

    def copy(self, chunk: TranscriptChunk, begin: int = 0, end: int | None = None) -> None:
        """Append a part of a chunk to the journal; the last part completes the chunk."""
        data = chunk.data[begin:end]
        self._save_progress(chunk.path)
        self._append(data)
        last = end is None or end == len(chunk.data)
        # Lines that were left out of a chunk count as read with its last part.
        self._progress.read[chunk.path] += len(data) + last * (chunk.length - len(chunk.data))

    def recover(self) -> None:
        """Determine how much was copied, after a copy failed."""
        self._progress = self._load_progress()

    def append_line(self, line: bytes) -> None:
        """Append a line of the host."""
        self._save_progress()
        self._append(line + b"\n")

    def close(self) -> None:
        """Close the journal."""
        os.close(self._journal)

    # --- progress ---------------------------------------------------------------------------

    def _load_progress(self) -> _Progress:
        try:
            data = self._folder.transcripts.read_bytes()
            progress = msgspec.json.decode(data, type=_Progress)
        except (FileNotFoundError, *NOT_JSON):
            return _Progress()
        progress.settle(os.fstat(self._journal).st_size)
        self._journal_lines.clear()
        return progress

    def _save_progress(self, copying: str = "") -> None:
        self._progress.begin(copying, os.fstat(self._journal).st_size)
        self._folder.write(self._folder.transcripts, msgspec.json.encode(self._progress))

    def _transcript(self, conversation: str) -> Path | None:
        if conversation and conversation not in self._transcripts:
            path = next(self._projects.glob(f"*/{conversation}.jsonl"), None)
            if path is not None:
                self._transcripts[conversation] = path
        return self._transcripts.get(conversation)

    def _position(self, name: str) -> int:
        progress = self._progress
        if name not in progress.read:
            progress.read[name] = self._initial_sizes.get(name, 0)
            if progress.read[name]:
                progress.begun[name] = progress.read[name]
        return progress.read[name]

    def _expect_copied(self, name: str, size: int) -> None:
        """Leave out what the journal has of a transcript that lies in several places."""
        progress, file = self._progress, f"/{name.rpartition('/')[2]}"
        is_elsewhere = any(other != name and f"/{other}".endswith(file) for other in progress.read)
        if is_elsewhere and not progress.begun.get(name):
            progress.again.setdefault(name, size)

    # --- reading ----------------------------------------------------------------------------

    def _chunks(
        self, path: Path, end: int | None, *, is_conversation: bool
    ) -> Iterator[TranscriptChunk]:
        descriptor = open_transcript(path)
        if descriptor is None:
            return
        name = str(path)
        try:
            self._detect_rewrite(name, descriptor)
            self._expect_copied(name, os.fstat(descriptor).st_size)
            while data := self._next(name, descriptor, end):
                fits = data.endswith(b"\n")  # else it is a piece of an endless line
                new = self._without_copied(name, data) if fits else b""
                yield TranscriptChunk(name, new, len(data), is_conversation)
                tail = data[-_TAIL:]
                self._progress.tails[name] = self._progress.read[name], len(tail), _hash(tail)
        finally:
            os.close(descriptor)

    def _next(self, name: str, descriptor: int, end: int | None) -> bytes:
        """Return whole lines that were not copied, up to `end`, or a piece of an endless one."""
        begin = self._position(name)
        size = _CHUNK if end is None else min(max(0, end - begin), _CHUNK)
        data = bytearray(os.pread(descriptor, size, begin))
        more = bytes(data)
        while more and b"\n" not in more:
            if len(data) >= LONGEST:
                return bytes(data)
            more = os.pread(descriptor, _CHUNK, begin + len(data))
            data += more
        return bytes(data[: data.rfind(b"\n") + 1])

    def _append(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._journal, data) :]

    # --- rewritten transcripts --------------------------------------------------------------

    def _detect_rewrite(self, name: str, descriptor: int) -> None:
        """Read a file again whose content has changed before the position."""
        begin, stat_result = self._position(name), os.fstat(descriptor)
        state = (
            stat_result.st_dev,
            stat_result.st_ino,
            stat_result.st_size,
            stat_result.st_mtime_ns,
        )
        size = stat_result.st_size
        before, self._file_states[name] = self._file_states.get(name, state), state
        if not begin:
            return
        if size < begin:
            self._read_again(name, size, "has got shorter")
        elif state[:2] != before[:2]:
            self._read_again(name, size, "was replaced")
        elif not self._has_tail(name, descriptor):
            self._read_again(name, size, "was rewritten")
        elif state != before and size == before[2]:  # or only its timestamp has changed
            self._read_again(name, size, "was rewritten", certain=False)

    def _has_tail(self, name: str, descriptor: int) -> bool:
        """Return whether the last bytes that were read are still there."""
        if name not in self._progress.tails:
            return True
        end, length, expected = self._progress.tails[name]
        return _hash(os.pread(descriptor, length, end - length)) == expected

    def _read_again(self, name: str, size: int, what: str, *, certain: bool = True) -> None:
        progress = self._progress
        progress.tails.pop(name, None)
        self._journal_lines.pop(name, None)
        self._unreported[name] = what
        if progress.begun.get(name):  # lines of other sessions are not copied
            progress.read[name] = progress.begun[name] = size
        else:
            progress.read[name], progress.again[name] = 0, size
        if certain:
            self._report_rewrite(name)

    def _report_rewrite(self, name: str) -> None:
        what = self._unreported.pop(name, "")
        if what:
            self.rewritten.append(f"Claude's transcript {name} {what}; what is new in it is read")

    def _without_copied(self, name: str, data: bytes) -> bytes:
        """Return lines without those that the journal has, if the file is read again."""
        progress = self._progress
        if name not in progress.again:
            return data
        if progress.read[name] >= progress.again[name]:
            del progress.again[name]
            self._journal_lines.pop(name, None)
            return data
        if name not in self._journal_lines:
            lines = read_lines(self._folder.journal)
            self._journal_lines[name] = {_identity(line.data) for line in lines}
        copied = self._journal_lines[name]
        new = [line for line in data[:-1].split(b"\n") if _identity(line) not in copied]
        if new:
            self._report_rewrite(name)
        return b"".join(line + b"\n" for line in new)


class _LineIdentity(msgspec.Struct):
    uuid: str = ""


_decode = msgspec.json.Decoder(_LineIdentity).decode


def _identity(line: bytes) -> bytes:
    """Return what identifies a line: its `uuid`, or a hash of its bytes if it has none."""
    try:
        uuid = _decode(line).uuid
    except NOT_JSON:
        uuid = ""
    return uuid.encode() if uuid else _hash(line).encode()


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def open_transcript(path: Path) -> int | None:
    """Open a transcript for reading; None if it is not a regular file, as a FIFO would block."""
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
    except OSError:  # a link that leads nowhere, or in a circle
        return 0
