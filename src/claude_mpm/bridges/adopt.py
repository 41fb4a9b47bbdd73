"""Sessions of a Claude that somebody started without us: its transcripts become part of the record.

Claude Code keeps a transcript of each conversation below its configuration folder, and those of
subagents beside it. What is new in them is copied into a session's journal, and read like others.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from claude_mpm.errors import StorageError
from claude_mpm.journal.layout import Meta, Start
from claude_mpm.journal.orphans import exists
from claude_mpm.processors.validated_numbers import moment
from claude_mpm.terminal.claude_config import read_claude_status
from claude_mpm.terminal.transcript_copier import TranscriptCopier, open_transcript
from claude_mpm.validation import NOT_JSON
from claude_mpm.wire import StreamJson, Transcript

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path

    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.sessions.store import Store

ADOPTED = "adopted"
_PID = re.compile(r"[0-9]{1,9}")
_LOOKED_AT = 50  # lines in which a transcript says what it is of
_HEAD = 1 << 20  # bytes of each of them


class _AdoptedLine(msgspec.Struct):
    """What a line says of its conversation; of the two names, a recorded stream has the second."""

    type: str = ""
    subtype: str = ""
    sessionId: str = ""  # noqa: N815 -- the name in Claude's own transcripts
    session_id: str = ""
    cwd: str = ""
    timestamp: str = ""


_decode = msgspec.json.Decoder(_AdoptedLine, strict=False).decode


@dataclass(frozen=True)
class AdoptableConversation:
    """A transcript, and what its first lines say of it.

    Args:
        path: the transcript.
        id: the conversation, as a UUID.
        cwd: the folder in which it began; empty if unknown.
        began_at: in seconds since the epoch.
        wire: how it is read: Claude's own record, or what `claude -p` wrote as `stream-json`.
    """

    path: Path
    id: str
    cwd: str
    began_at: float
    wire: str


def find_transcripts(configuration: Path) -> list[Path]:
    """Return the files of a configuration folder's conversations, the one changed last first."""
    found = []
    for path in configuration.glob("projects/*/*.jsonl"):
        with suppress(OSError):  # removed meanwhile, or a link that leads nowhere
            found.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(found, reverse=True)]


def read_conversation(path: Path) -> AdoptableConversation | None:
    """Return what a transcript is of; None if it is none of Claude Code's.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        descriptor = open_transcript(path)
        if descriptor is None:
            return None
        with open(descriptor, "rb") as file:
            lines = list(islice(iter(partial(file.readline, _HEAD), b""), _LOOKED_AT))
            changed_at = os.fstat(file.fileno()).st_mtime
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror})") from error
    said = [line for line in map(_read, lines) if line is not None]
    names = [line.sessionId or line.session_id for line in said]
    name = next((name for name in [path.stem, *names] if _is_uuid(name)), "")
    if not name or not any(names):
        return None
    times = (moment(line.timestamp) for line in said)
    return AdoptableConversation(
        path,
        name,
        next((line.cwd for line in said if line.cwd), ""),
        next((at for at in times if at is not None), changed_at),
        Transcript.name if any(line.sessionId for line in said) else StreamJson.name,
    )


def _read(line: bytes) -> _AdoptedLine | None:
    try:
        return _decode(line)
    except NOT_JSON:
        return None


def _is_uuid(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def adopt(
    store: Store,
    conversation: AdoptableConversation,
    configuration: Path,
    held: Container[str] = (),
) -> SessionFolder | None:
    """Copy what is new in a conversation into its session; it is made if there is none.

    Args:
        configuration: the configuration folder of its Claude.
        held: what `held_conversations` returned; needed unless it was adopted before.

    Returns:
        The session's folder; None if the record has the conversation already, because it was
        started by claude-mpm.

    Raises:
        StorageError: the session cannot be written.
    """
    folder = store.folder(conversation.id)
    if folder.meta_file.exists():
        if folder.read_meta().environment != ADOPTED or folder.has_host():
            return None
    elif conversation.id in held:
        return None
    else:
        _make(folder, conversation, configuration)
    folder.exit_file.write(b"0\n")  # first: whatever becomes of the copy, no Claude is to come
    copier = TranscriptCopier(folder, configuration, conversation.id)
    with closing(copier):
        copier.follow_file(conversation.id, conversation.path)
        for chunk in copier.read_new(final=True):
            copier.copy(chunk)
    store.catch_up(folder)
    return folder


def is_running(conversation: AdoptableConversation, configuration: Path) -> bool:
    """Return whether a Claude on this machine holds the conversation."""
    for file in configuration.glob("sessions/*.json"):
        if _PID.fullmatch(file.stem) and exists(int(file.stem)):
            status = read_claude_status(configuration, int(file.stem))
            if status is not None and status.session_id == conversation.id:
                return True
    return False


def held_conversations(store: Store) -> set[str]:
    """Return the conversations that the record has, under the name of whichever session."""
    held = set()
    for folder in store.sessions():
        with suppress(StorageError):  # a damaged session; it is named by those who list it
            held.add(folder.read_meta().claude_session_id)
    return held


def _make(folder: SessionFolder, conversation: AdoptableConversation, configuration: Path) -> None:
    folder.create()
    # Of a file that may be from anywhere, nothing says where Claude is to work.
    is_local = conversation.path.is_relative_to(configuration)
    is_transcript = conversation.wire == Transcript.name
    meta = Meta(
        session_id=conversation.id,
        claude_session_id=conversation.id,
        orchestrator="terminal" if is_transcript else "local",
        environment=ADOPTED,
        wire=conversation.wire,
        cwd=conversation.cwd if is_local else "",
        created_at=conversation.began_at,
        starts=[Start(at=time.time(), offset=0)],
    )
    folder.write_meta(meta)
