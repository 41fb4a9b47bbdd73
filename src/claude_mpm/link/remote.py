"""A far session that is hosted by a server of sessions."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from claude_mpm.link.connection import ServerAddress, ServerConnection
from claude_mpm.link.far import TOO_OLD, FarFailed, FarState, LinkCut, far_name
from claude_mpm.wire.remote import CHUNK, InputMessage, OutputMessage, StartParameters

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from claude_mpm.journal.layout import SessionFolder

T = TypeVar("T")
_JOIN_TIMEOUT = 10.0  # seconds for a thread to end


class RemoteSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How a far session is reached; stored in the session's folder, for any process.

    Args:
        server: the server that hosts it.
        session: its name there, under the client's token.
        start: the parameters of its start, without the contents of files and Claude's variables.
        reader: how this machine is known there, in digits, where another one has started it.
        base: the offset of the far journal's first byte in the near journal.
    """

    kind: str = "remote"
    server: ServerAddress
    session: str
    start: StartParameters
    base: int = 0
    reader: str = ""


def open_far(spec: dict[str, Any], folder: SessionFolder) -> RemoteFar:
    """Return the far session that a link's file describes."""
    return RemoteFar(msgspec.convert(spec, RemoteSpec), folder)


class _OwnConnection(threading.local):
    """The connection of the thread that asks for it; None where it has none."""

    def __init__(self) -> None:
        self.connection: ServerConnection | None = None

    @property
    def usable(self) -> ServerConnection | None:
        """The connection, where it can be used."""
        connection = self.connection
        return connection if connection is not None and connection.usable else None

    def open(self, spec: RemoteSpec) -> ServerConnection:
        """Connect to the server, in place of the connection there was."""
        self.close()
        self.connection = ServerConnection(spec.server, spec.session)
        return self.connection

    def close(self) -> None:
        """Close the connection; safe to call twice."""
        connection, self.connection = self.usable, None
        if connection is not None:
            connection.close()


class RemoteFar:
    """The far session; each thread has its own connection to the server.

    Args:
        spec: how it is reached.
        folder: the session's folder on this machine.
    """

    def __init__(self, spec: RemoteSpec, folder: SessionFolder) -> None:
        self._spec = spec
        self._folder = folder
        self._own = _OwnConnection()

    def start(self) -> None:
        """Start the session."""
        if self._spec.reader:
            raise FarFailed(f"{self._spec.server.address}: the session has not begun there")
        start = msgspec.structs.replace(
            self._spec.start,
            framework=_content(self._folder.framework),
            agents=_content(self._folder.agents),
            environ=msgspec.json.decode(self._environ()),
        )
        self._ask(InputMessage(do="start"), msgspec.json.encode(start))
        self._folder.environ.remove()

    def _environ(self) -> bytes:
        try:
            return b"".join(self._folder.environ.chunks())
        except FileNotFoundError:
            return b"{}"

    def state(self) -> FarState:
        """Return the state of the far folder."""
        reader = self._spec.reader
        state = self._ask(InputMessage(do="state", name=reader)).state
        if state is None:
            raise FarFailed(f"{self._spec.server.address} did not say how the session is")
        if reader and not state.marked:
            raise FarFailed(f"{self._spec.server.address}: {TOO_OLD}")
        return FarState(**msgspec.structs.asdict(state))

    def follow(self, offset: int) -> RemoteStream:
        """Return a stream of the far journal from an offset."""
        return RemoteStream(ServerConnection(self._spec.server, self._spec.session, offset), offset)

    def fetch(self, file: str, offset: int) -> Iterator[bytes]:
        """Yield the content of a far file from an offset."""
        while piece := self._ask(InputMessage(do="fetch", name=file, offset=offset)).data:
            offset += len(piece)
            yield piece

    def put(self, name: str, message: bytes) -> None:
        """Deliver a message to Claude."""
        self._ask(InputMessage(do="put", name=far_name(name, self._spec.reader)), message)

    def signal(self, signum: int) -> None:
        """Send the far host a signal."""
        self._ask(InputMessage(do="signal", signal=signum))

    def remove(self) -> None:
        """Remove the far folder, once no other machine reads it."""
        self._ask(InputMessage(do="remove", name=self._spec.reader))

    def close(self) -> None:
        """Close this thread's connection; safe to call twice."""
        self._own.close()

    def _ask(self, request: InputMessage, data: bytes = b"") -> OutputMessage:
        connection = self._own.usable
        if connection is not None:
            with suppress(LinkCut):  # it was cut while it was not used
                return self._ask_on(connection, request, data)
        return self._ask_on(self._own.open(self._spec), request, data)

    def _ask_on(
        self, connection: ServerConnection, request: InputMessage, data: bytes
    ) -> OutputMessage:
        try:
            return connection.ask(request, data)
        except LinkCut:
            connection.close()
            raise


class RemoteStream:
    """A far journal that is streamed over a connection.

    A thread unpacks it from its messages into a pipe, so that there is a descriptor to wait for.

    Args:
        connection: carries the journal, from `offset` on.
    """

    def __init__(self, connection: ServerConnection, offset: int) -> None:
        self._connection = connection
        self._bytes, pipe = os.pipe()
        self._thread = threading.Thread(
            target=self._unpack, args=(pipe, offset), name="claude-mpm-remote", daemon=True
        )
        self._thread.start()

    def fileno(self) -> int:
        """Return the descriptor that is readable when there are bytes."""
        return self._bytes

    def read(self) -> bytes:
        """Return the next bytes; empty at the end."""
        return os.read(self._bytes, CHUNK)

    def beat(self) -> None:
        """Send the server a sign of life."""
        self._connection.send(InputMessage(do="beat"))

    def is_heard(self, state: FarState) -> bool:
        """Return True: a server that receives nothing closes the connection."""
        return True

    def hold(self) -> None:
        """Hold the far session's lease, so that its linger rule does not apply."""
        self._connection.send(InputMessage(do="hold"))

    def release(self) -> None:
        """Release the far session's lease, so that its linger rule applies."""
        self._connection.send(InputMessage(do="release"))

    def close(self) -> None:
        """Close the connection and end the thread."""
        self._connection.close()
        os.close(self._bytes)
        self._thread.join(_JOIN_TIMEOUT)

    def _unpack(self, pipe: int, offset: int) -> None:
        # A refusal is repeated when the state of the session is requested.
        with (
            open(pipe, "wb", buffering=0) as journal,
            suppress(LinkCut, FarFailed, BrokenPipeError),
        ):
            while (
                isinstance(message := self._connection.receive(), OutputMessage)
                and not message.ended
            ):
                if message.journal and message.offset != offset:
                    return  # a piece is missing; the next connection continues here
                _write_all(journal.fileno(), message.journal)
                offset += len(message.journal)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _content(file: Path) -> bytes:
    return file.read_bytes() if file.exists() else b""
