"""One connection of a server: messages in, messages out, at the client's own pace.

It works on the socket itself. What is sent is handed to the kernel before more is read from a
journal, so a client that does not read costs one message of memory, and nobody else anything.
"""

from __future__ import annotations

import asyncio
import socket
import types
from contextlib import suppress
from typing import TYPE_CHECKING

from claude_mpm.wire.remote import Error, Lines, Message, Terminate, decode, encode

if TYPE_CHECKING:
    from collections.abc import Generator

    from claude_mpm.server.quota import Quota
    from claude_mpm.wire.tls import TlsLayer

_READ = 1 << 16
FAREWELL = 2.0  # seconds for a last message, and for the other end to hear it
_SILENT = 60  # seconds after which a machine that does not answer is taken for gone


class Gone(Exception):
    """The client has ended the connection, or can be reached no more."""


class Refused(Exception):
    """What the client wants is not to be had; the words say why.

    Args:
        again: whether it may be otherwise if the client tries again.
    """

    def __init__(self, reason: str, *, again: bool = False) -> None:
        super().__init__(reason)
        self.again = again


class Peer:
    """A client's connection.

    Args:
        sock: the accepted socket.
        tls: what speaks TLS on it; None for plain text.
        limit: the longest line to take, in bytes.
    """

    def __init__(self, sock: socket.socket, tls: TlsLayer | None, limit: int) -> None:
        self.lines = Lines(limit)
        self._socket = sock
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self.sending = asyncio.Lock()
        self.quota: Quota | None = None  # of the client's token, once it is known
        self._in_a_line = False

    async def handshake(self) -> None:
        """Agree on TLS, where it is spoken.

        Raises:
            Gone: the other end is gone.
            Refused: it does not speak TLS, or has no right to connect.
        """
        if self._tls is None:
            return
        first = await self._receive()
        if first[:1] == b"{":
            self._tls = None
            raise Refused("this server speaks TLS; connect with TLS")
        await self._take(first)
        while not self._tls.ready:
            await self._take(await self._receive())

    async def receive(self) -> Message:
        """Return the next message.

        Raises:
            Gone: there is none any more.
            TooLong: it is longer than may be.
            Malformed: it is none.
            Refused: all that the client's token has on its way would be too much.
        """
        while (line := self.lines.next()) is None:
            await self._take(await self._receive())
            self._count()
        self._count()
        return decode(line)

    def _count(self) -> None:
        """Count what has come of the next line against what the client may have us hold."""
        if self.quota is not None and not self.quota.hold(self, self.lines.held):
            raise Refused(self.quota.no_memory, again=True)

    async def send(self, message: Message) -> None:
        """Send a message; returns once the kernel has it.

        Raises:
            Gone: the connection has ended.
        """
        async with self.sending:
            self._in_a_line = True
            await self._hand_over(encode(message))
            self._in_a_line = False

    async def say_last(self, message: Error | Terminate) -> None:
        """Say why the connection ends, and wait a little for the other end to hear it."""
        with suppress(Gone, OSError, TimeoutError):
            async with asyncio.timeout(FAREWELL):
                if self._in_a_line:
                    return  # what comes now would be taken for the rest of the line
                if self._tls is None or self._tls.ready:
                    await self.send(message)
                self._socket.shutdown(socket.SHUT_WR)
                # To close now would tell the other end's kernel to forget what it has not read.
                while await self._receive():
                    pass

    def drop(self, reason: str) -> None:
        """Tell a client that has said nothing yet why its connection ends; wait for nobody."""
        if self._tls is None:
            with suppress(OSError):
                self._socket.send(encode(Error(error=reason, again=True)))

    def close(self) -> None:
        """Close the connection; nothing may be under way on it. Safe to call twice."""
        self._socket.close()

    async def _receive(self) -> bytes:
        await others()
        try:
            data = await self._loop.sock_recv(self._socket, _READ)
        except OSError as error:
            raise Gone(str(error)) from error
        if not data:
            raise Gone("the client has closed the connection")
        return data

    async def _take(self, data: bytes) -> None:
        """Add to the lines what the network brought."""
        if self._tls is None:
            self.lines.feed(data)
            return
        try:
            self.lines.feed(self._tls.receive(data))
        except OSError as error:
            raise Refused(f"no TLS: {error}") from error
        finally:
            if self._tls.pending:
                async with self.sending:
                    await self._hand_over(b"")

    async def _hand_over(self, data: bytes) -> None:
        """Give the kernel data, and what TLS itself has to say, in the order of their seals."""
        await others()
        if self._tls is not None:
            if data:
                self._tls.send(data)
            data = self._tls.outgoing()
        try:
            await self._loop.sock_sendall(self._socket, data)
        except OSError as error:
            raise Gone(str(error)) from error


@types.coroutine
def others() -> Generator[None, None, None]:
    """Let the other connections have their turn; a socket that is always ready never waits."""
    yield


def prepare(sock: socket.socket) -> str:
    """Make a socket fit for a peer, and return the address at the other end.

    Raises:
        OSError: the other end is gone already.
    """
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # The kernel finds out that the machine at the other end is gone.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {
        "TCP_KEEPIDLE": _SILENT // 2,
        "TCP_KEEPINTVL": 5,
        "TCP_KEEPCNT": 6,
        "TCP_USER_TIMEOUT": _SILENT * 1000,
    }
    for name, value in options.items():
        if (option := getattr(socket, name, None)) is not None:  # not every system has them all
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
    host, port = sock.getpeername()[:2]
    return f"{host}:{port}"
