"""What comes in pieces: messages for Claude, and what it is started with."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from abc import ABC, abstractmethod
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from claude_mpm.journal.inbox import END_OF_INPUT, Inbox
from claude_mpm.journal.storage import storage_errors
from claude_mpm.server.message_socket import Refused
from claude_mpm.wire.remote import CHUNK, Input, Malformed, decode_start

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.wire.remote import Message, Start

_MESSAGE = re.compile(r"[0-9]{1,12}")
# A cut connection's last words and those of its successor may be worked on at the same time.
_delivering = threading.Lock()


class Upload(ABC):
    """Something on its way to the server.

    Args:
        first: its first piece.
        limit: the longest that it may be, in bytes.

    Raises:
        Refused: it is too long.
    """

    def __init__(self, first: Input, limit: int) -> None:
        if first.size > limit:
            raise Refused(f"a message of {first.size} bytes is longer than {limit}")
        self.id = first.id
        self.in_memory = 0  # bytes for which it needs room there
        self._size = first.size
        self._here = 0

    def add(self, piece: Input) -> bool:
        """Take a piece; tell whether it was the last.

        Raises:
            Refused: it does not follow the piece before it.
        """
        if piece.offset != self._here or self._here + len(piece.data) > self._size:
            raise Refused("a piece of a message does not follow the one before it")
        self._keep(piece.data)
        self._here += len(piece.data)
        return self._here == self._size

    def is_continued_by(self, message: Message) -> bool:
        """Return whether a message is its next piece, and no smaller than it has to be."""
        return (
            isinstance(message, Input)
            and message.do in ("start", "put")
            and (message.id, message.offset) == (self.id, self._here)
            and len(message.data) >= min(CHUNK, max(self._size - self._here, 1))
        )

    def close(self) -> None:  # noqa: B027 -- most have nothing to forget
        """Forget what did not become whole; safe to call twice."""

    @abstractmethod
    def _keep(self, data: bytes) -> None:
        """Keep the next bytes."""


class StartUpload(Upload):
    """What a session is to be started with."""

    def __init__(self, first: Input, limit: int) -> None:
        super().__init__(first, limit)
        self.in_memory = first.size
        self._data = bytearray()

    def start(self) -> Start:
        """Return it, once it is whole.

        Raises:
            Refused: it is not what it must be.
        """
        try:
            return decode_start(bytes(self._data))
        except Malformed as error:
            raise Refused(str(error)) from error

    def _keep(self, data: bytes) -> None:
        self._data += data


class MessageUpload(Upload):
    """A message on its way into a session's inbox.

    Args:
        folder: the session's.

    Raises:
        Refused: it is too long, has a name that is none of a message, or there is no session.
        StorageError: the disk does not take it.
    """

    def __init__(self, first: Input, limit: int, folder: SessionFolder) -> None:
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
        """Give Claude the whole message; the name EOF ends its input. Twice is as once.

        Raises:
            SessionEnded: Claude takes no input any more.
            StorageError: the disk did not take it.
        """
        with _delivering, closing(Inbox(self._folder)) as inbox:
            if self._name == END_OF_INPUT:
                inbox.end()
                return
            beside = self._folder.path / f".put-{self._name}"
            with storage_errors(self._folder.path):
                is_new = self._put_into_place(beside)
            if is_new:
                inbox.announce(self._name)
                beside.unlink()

    def close(self) -> None:
        """Forget what did not become whole; safe to call twice."""
        self._file.close()
        self._draft.unlink(missing_ok=True)

    def _keep(self, data: bytes) -> None:
        with storage_errors(self._folder.path):
            self._file.write(data)

    def _put_into_place(self, beside: Path) -> bool:
        """Put the message into the inbox; tell whether Claude has to be told of it.

        It stands in the inbox from before that, and beside the inbox until after it.
        """
        self._file.flush()
        os.fsync(self._file.fileno())
        message = self._folder.inbox / self._name
        if message.exists() and not beside.exists():
            return False
        self._draft.replace(beside)
        with suppress(FileExistsError):
            os.link(beside, message)
        return True
