"""Claude's records of conversations on a server of sessions, which it reads and writes for us."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from claude_mpm.environments.record_store import LARGEST, RecordFile, RecordStore, listed
from claude_mpm.errors import LaunchError, StorageError
from claude_mpm.link.connection import ServerAddress, ServerConnection
from claude_mpm.link.far import FarFailed, LinkCut
from claude_mpm.wire.remote import CHUNK, InputMessage, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST_LIST = 1 << 20  # bytes


class RemoteRecords(RecordStore):
    """The records of one token's conversations.

    Args:
        server: where they are, and who we are there.
    """

    def __init__(self, server: ServerAddress) -> None:
        self._server = server

    def files(self, conversation: str) -> list[RecordFile]:
        """Return the files of a conversation's record."""
        said = self._fetch("records", conversation, 0, _LONGEST_LIST)
        return list(listed(said, conversation))

    def read(self, file: RecordFile, offset: int, size: int) -> bytes:
        """Return bytes of a file."""
        return self._fetch("record", f"{file.project}/{file.name}", offset, size)

    def real_folder(self, cwd: str) -> str:
        """Return the folder as it is named: only the server knows its links."""
        return cwd

    def put(self, file: RecordFile, source: BinaryIO) -> None:
        """Write a file, if it is no longer than the server takes for this token."""
        with self._connected() as connection:
            request = InputMessage(do="keep", name=f"{file.project}/{file.name}")
            connection.ask(request, source.read(LARGEST))

    def undo(self) -> None:
        """Do nothing: a server removes nothing of a conversation for a client."""

    def _fetch(self, do: Verb, name: str, offset: int, size: int) -> bytes:
        """Return what a server sends of a file, or of the list, in pieces."""
        data = bytearray()
        with self._connected() as connection:
            for _ in range(size // CHUNK + 2):  # one that sends less at once sends for ever
                request = InputMessage(do=do, name=name, offset=offset + len(data))
                piece = connection.ask(request).data[:CHUNK]
                data += piece
                if not piece or len(data) >= size:
                    break
        return bytes(data[:size])

    @contextmanager
    def _connected(self) -> Iterator[ServerConnection]:
        """Connect to the server, under the name of a session that is none.

        Raises:
            LaunchError: it cannot be reached, or refuses.
        """
        try:
            connection = ServerConnection(self._server, f"move-{os.urandom(4).hex()}")
            try:
                yield connection
            finally:
                connection.close()
        except (LinkCut, FarFailed, StorageError) as error:
            raise LaunchError(f"remote: {error}") from error
