"""Uploads, which arrive in pieces: messages for Claude, and the parameters of a start."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from abc import ABC, abstractmethod
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from claude_mpm.environments.record_store import RecordFile, is_file
from claude_mpm.journal.inbox import END_OF_INPUT, Inbox
from claude_mpm.journal.storage import storage_errors
from claude_mpm.server.message_socket import Refused
from claude_mpm.wire.remote import (
    CHUNK,
    UPLOADS,
    InputMessage,
    MalformedMessage,
    decode_start,
)

if TYPE_CHECKING:
    from claude_mpm.environments.record_store import RecordStore
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.wire.remote import RemoteMessage, StartParameters

_MESSAGE = re.compile(r"[0-9]{1,12}")
# Held while a message enters an inbox: a cut connection and its successor may both be finishing
# the same upload, each in a thread of the executor.
_delivering = threading.Lock()


class Upload(ABC):
    """An upload in progress.

    Args:
        first: its first piece, which announces the size of the whole.
        limit: the largest size, in bytes.

    Raises:
        Refused: it is larger than that.

    Attributes:
        in_memory: how many bytes it holds in memory.
    """

    def __init__(self, first: InputMessage, limit: int) -> None:
        if first.size > limit:
            raise Refused(f"a message of {first.size} bytes is longer than {limit}")
        self.id = first.id
        self.in_memory = 0
        self._size = first.size
        self._received = 0

    def add(self, piece: InputMessage) -> bool:
        """Add a piece, and return whether the upload is complete.

        Raises:
            Refused: it does not follow the piece before it.
        """
        if piece.offset != self._received or self._received + len(piece.data) > self._size:
            raise Refused("a piece of a message does not follow the one before it")
        self._store(piece.data)
        self._received += len(piece.data)
        return self._received == self._size

    def is_continued_by(self, message: RemoteMessage) -> bool:
        """Return whether a message is the next piece, and not smaller than necessary."""
        return (
            isinstance(message, InputMessage)
            and message.do in UPLOADS
            and (message.id, message.offset) == (self.id, self._received)
            and len(message.data) >= min(CHUNK, max(self._size - self._received, 1))
        )

    def close(self) -> None:  # noqa: B027 -- an upload in memory has nothing to discard
        """Discard an incomplete upload; safe to call twice."""

    @abstractmethod
    def _store(self, data: bytes) -> None:
        """Store the next bytes."""


class StartUpload(Upload):
    """The parameters of a session's start, in memory."""

    def __init__(self, first: InputMessage, limit: int) -> None:
        super().__init__(first, limit)
        self.in_memory = first.size
        self._data = bytearray()

    def start(self) -> StartParameters:
        """Return the parameters of a complete upload.

        Raises:
            Refused: they are malformed.
        """
        try:
            return decode_start(bytes(self._data))
        except MalformedMessage as error:
            raise Refused(str(error)) from error

    def _store(self, data: bytes) -> None:
        self._data += data


class MessageUpload(Upload):
    """A message for a session's inbox, in a temporary file.

    Args:
        folder: the session's.

    Raises:
        Refused: it is too large, its name is invalid, or there is no such session.
        StorageError: the file could not be made.
    """

    def __init__(self, first: InputMessage, limit: int, folder: SessionFolder) -> None:
        super().__init__(first, limit)
        if not _MESSAGE.fullmatch(first.name) and first.name != END_OF_INPUT:
            raise Refused(f"{first.name[:40]!r} is no name of a message")
        if not folder.meta_file.exists():
            raise Refused("there is no such session here")
        self._name = first.name
        self._folder = folder
        with storage_errors(folder.path):
            descriptor, draft = tempfile.mkstemp(dir=folder.path, prefix=".part-")
        self._draft = Path(draft)
        self._file = open(descriptor, "wb")  # noqa: SIM115 -- `close` closes it

    def finish(self) -> None:
        """Deliver the complete message; the name EOF ends Claude's input. Idempotent.

        Called in a thread of the executor.

        Raises:
            SessionEnded: Claude no longer accepts input.
            StorageError: the message could not be stored.
        """
        with _delivering, closing(Inbox(self._folder)) as inbox:
            if self._name == END_OF_INPUT:
                inbox.end()
                return
            marker = self._folder.path / f".put-{self._name}"
            with storage_errors(self._folder.path):
                is_new = self._move_into_inbox(marker)
            if is_new:
                inbox.announce(self._name)
                marker.unlink()

    def close(self) -> None:
        """Discard the temporary file; safe to call twice."""
        self._file.close()
        self._draft.unlink(missing_ok=True)

    def _store(self, data: bytes) -> None:
        with storage_errors(self._folder.path):
            self._file.write(data)

    def _move_into_inbox(self, marker: Path) -> bool:
        """Move the message into the inbox, and return whether it must be announced to the host.

        It is in the inbox before it is announced, and `marker`, another link to it, exists until
        it was announced. So a server that is killed in between announces it the next time.
        """
        self._file.flush()
        os.fsync(self._file.fileno())
        message = self._folder.inbox / self._name
        if message.exists() and not marker.exists():
            return False
        self._draft.replace(marker)
        with suppress(FileExistsError):
            os.link(marker, message)
        return True


def record_file(path: str, size: int = 0) -> RecordFile:
    """Return the file of a record that a client names by its path below `projects`.

    Raises:
        Refused: it can be none.
    """
    if not is_file(path):
        raise Refused(f"{path[:40]!r} is no file of a conversation's record")
    project, _, name = path.partition("/")
    return RecordFile(project, name, size)


class RecordUpload(Upload):
    """A file of Claude's record of a conversation, in a temporary file.

    Args:
        records: where it goes.
        folder: for the temporary file.

    Raises:
        Refused: it is too large, or its name is none of a record.
        StorageError: the file could not be made.
    """

    def __init__(self, first: InputMessage, limit: int, records: RecordStore, folder: Path) -> None:
        super().__init__(first, limit)
        self._target = record_file(first.name, first.size)
        self._records = records
        with storage_errors(folder):
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 -- `close` closes it

    def finish(self) -> None:
        """Put the complete file in its place. Called in a thread of the executor.

        Raises:
            MPMError: the place does not take it.
        """
        self._file.seek(0)
        self._records.put(self._target, cast("BinaryIO", self._file))

    def close(self) -> None:
        """Discard the temporary file; safe to call twice."""
        self._file.close()

    def _store(self, data: bytes) -> None:
        self._file.write(data)
