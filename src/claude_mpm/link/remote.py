"""A far session that a server of sessions hosts."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from claude_mpm.link.connection import Connection, Server
from claude_mpm.link.far import FarFailed, FarState, LinkCut
from claude_mpm.wire.remote import CHUNK, Input, Output, Start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from claude_mpm.journal.layout import SessionFolder

T = TypeVar("T")
_PATIENCE = 10.0  # seconds for a thread to end


class RemoteSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How a far session is reached; kept in the session's folder, so that any process can.

    Args:
        server: where it is hosted.
        session: its name there, under our token.
        start: what it is started with, but for the contents of files and Claude's variables.
        base: the byte of the near journal that is the first of the far one.
    """

    kind: str = "remote"
    server: Server
    session: str
    start: Start
    base: int = 0


def open_far(spec: dict[str, Any], folder: SessionFolder) -> RemoteFar:
    """Return the far session that a link's file tells of."""
    return RemoteFar(msgspec.convert(spec, RemoteSpec), folder)


class RemoteFar:
    """Asks the server; each thread has a connection of its own.

    Args:
        spec: how it is reached.
        folder: the session's folder on this machine.
    """

    def __init__(self, spec: RemoteSpec, folder: SessionFolder) -> None:
        self._spec = spec
        self._folder = folder
        self._own = threading.local()

    def start(self) -> None:
        """Have the session started."""
        start = msgspec.structs.replace(
            self._spec.start,
            framework=_content(self._folder.framework),
            agents=_content(self._folder.agents),
            environ=msgspec.json.decode(self._environ()),
        )
        self._ask(Input(do="start"), msgspec.json.encode(start))
        self._folder.environ.remove()

    def _environ(self) -> bytes:
        try:
            return b"".join(self._folder.environ.chunks())
        except FileNotFoundError:
            return b"{}"

    def state(self) -> FarState:
        """Return what the far folder says."""
        state = self._ask(Input(do="state")).state
        if state is None:
            raise FarFailed(f"{self._spec.server.address} did not say how the session is")
        return FarState(**msgspec.structs.asdict(state))

    def follow(self, offset: int) -> RemoteStream:
        """Read the far journal from a byte on."""
        return RemoteStream(Connection(self._spec.server, self._spec.session, offset), offset)

    def fetch(self, file: str, offset: int) -> Iterator[bytes]:
        """Yield what one of the far files holds from a byte on."""
        while piece := self._ask(Input(do="fetch", name=file, offset=offset)).data:
            offset += len(piece)
            yield piece

    def put(self, name: str, message: bytes) -> None:
        """Give Claude a message."""
        self._ask(Input(do="put", name=name), message)

    def signal(self, signum: int) -> None:
        """Send the far host a signal."""
        self._ask(Input(do="signal", signal=signum))

    def remove(self) -> None:
        """Remove the far folder."""
        self._ask(Input(do="remove"))

    def close(self) -> None:
        """End this thread's connection; safe to call twice."""
        connection = self._known()
        if connection is not None:
            connection.close()
            self._own.connection = None

    def _ask(self, question: Input, data: bytes = b"") -> Output:
        known = self._known()
        if known is not None:
            with suppress(LinkCut):  # while nobody used it
                return self._ask_on(known, question, data)
        self.close()
        self._own.connection = Connection(self._spec.server, self._spec.session)
        return self._ask_on(self._own.connection, question, data)

    def _ask_on(self, connection: Connection, question: Input, data: bytes) -> Output:
        try:
            return connection.ask(question, data)
        except LinkCut:
            connection.close()
            raise

    def _known(self) -> Connection | None:
        connection: Connection | None = getattr(self._own, "connection", None)
        return connection if connection is not None and connection.usable else None


class RemoteStream:
    """A far journal, as it comes over a connection.

    A thread takes it out of its messages, so that there is a descriptor with nothing else in it.

    Args:
        connection: carries the journal, from `offset` on.
    """

    def __init__(self, connection: Connection, offset: int) -> None:
        self._connection = connection
        self._bytes, pipe = os.pipe()
        self._thread = threading.Thread(
            target=self._unpack, args=(pipe, offset), name="claude-mpm-remote", daemon=True
        )
        self._thread.start()

    def fileno(self) -> int:
        """Return a descriptor that can be read when there are bytes."""
        return self._bytes

    def read(self) -> bytes:
        """Return the next bytes; empty at the end."""
        return os.read(self._bytes, CHUNK)

    def beat(self) -> None:
        """Tell the server that we are still there."""
        self._connection.send(Input(do="beat"))

    def is_heard(self, state: FarState) -> bool:
        """Return True: a server that hears nothing ends the connection."""
        return True

    def hold(self) -> None:
        """Keep the far session from being ended by its linger rule."""
        self._connection.send(Input(do="hold"))

    def release(self) -> None:
        """Let the far session's linger rule run."""
        self._connection.send(Input(do="release"))

    def close(self) -> None:
        """End the connection and the thread."""
        self._connection.close()
        os.close(self._bytes)
        self._thread.join(_PATIENCE)

    def _unpack(self, pipe: int, offset: int) -> None:
        # What was refused is said again when the session is asked how it is.
        with (
            open(pipe, "wb", buffering=0) as journal,
            suppress(LinkCut, FarFailed, BrokenPipeError),
        ):
            while isinstance(message := self._connection.receive(), Output) and not message.ended:
                if message.journal and message.offset != offset:
                    return  # a piece is missing; the next connection begins where we are
                _write_all(journal.fileno(), message.journal)
                offset += len(message.journal)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _content(file: Path) -> bytes:
    return file.read_bytes() if file.exists() else b""
