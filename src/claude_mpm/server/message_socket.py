"""Messages over one socket of a server, at the speed at which the client reads them.

It works on the socket itself: what is sent is handed to the kernel before more is read from a
journal. So a client that does not read costs one message of memory, and delays no other client.
"""

from __future__ import annotations

import asyncio
import socket
import types
from contextlib import suppress
from typing import TYPE_CHECKING

from claude_mpm.wire.framing import LineBuffer
from claude_mpm.wire.remote import ErrorMessage, RemoteMessage, TerminateMessage, decode, encode

if TYPE_CHECKING:
    from collections.abc import Generator

    from claude_mpm.server.quota import ByteQuota
    from claude_mpm.wire.tls import TlsLayer

_READ = 1 << 16
CLOSE_TIMEOUT = 2.0  # seconds for the last message, and for the other end to read it
_KEEPALIVE = 60  # seconds after which a machine that does not answer counts as disconnected


class Disconnected(Exception):
    """The client has closed the connection, or can no longer be reached."""


class Refused(Exception):
    """A request is refused; the message says why.

    Args:
        again: whether it may succeed if the client tries again.
    """

    def __init__(self, reason: str, *, again: bool = False) -> None:
        super().__init__(reason)
        self.again = again


class MessageSocket:
    """Sends and receives messages on an accepted socket, with or without TLS.

    Args:
        sock: the socket.
        tls: the TLS layer; None for plain text.
        limit: the longest line that is accepted, in bytes.

    Attributes:
        sending: held while a message is handed to the kernel, so that messages are not mixed.
        quota: of the client's token; None until it is authenticated.
    """

    def __init__(self, sock: socket.socket, tls: TlsLayer | None, limit: int) -> None:
        self.lines = LineBuffer(limit)
        self._socket = sock
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self.sending = asyncio.Lock()
        self.quota: ByteQuota | None = None
        self._in_a_line = False

    def admit(self, quota: ByteQuota, limit: int) -> None:
        """Set the client's quota, and the longest line that it may send, in bytes."""
        self.quota = quota
        self.lines.allow(limit)

    async def handshake(self) -> None:
        """Do the TLS handshake, where the server has a certificate.

        Raises:
            Disconnected: the client has disconnected.
            Refused: it does not speak TLS, or its certificate is not accepted.
        """
        if self._tls is None:
            return
        first = await self._receive()
        if first[:1] == b"{":
            self._tls = None
            raise Refused("this server speaks TLS; connect with TLS")
        await self._feed(first)
        while not self._tls.ready:
            await self._feed(await self._receive())

    async def receive(self) -> RemoteMessage:
        """Return the next message.

        Raises:
            Disconnected: the client has disconnected.
            LineTooLong: it is longer than the limit.
            MalformedMessage: the line is not a message.
            Refused: the unfinished messages of the client's token take too much memory.
        """
        while (line := self.lines.next()) is None:
            await self._feed(await self._receive())
            self._check_quota()
        self._check_quota()
        return decode(line)

    def _check_quota(self) -> None:
        """Count the bytes of the unfinished line against the token's quota."""
        if self.quota is not None and not self.quota.hold(self, self.lines.held):
            raise Refused(self.quota.no_memory, again=True)

    async def send(self, message: RemoteMessage) -> None:
        """Send a message; returns once the kernel has it.

        Raises:
            Disconnected: the connection has ended.
        """
        async with self.sending:
            self._in_a_line = True
            await self._send_bytes(encode(message))
            self._in_a_line = False

    async def send_last(self, message: ErrorMessage | TerminateMessage) -> None:
        """Send why the connection is closed, and give the client time to read it."""
        with suppress(Disconnected, OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                if self._in_a_line:
                    return  # the message would be read as the rest of the unfinished line
                if self._tls is None or self._tls.ready:
                    await self.send(message)
                self._socket.shutdown(socket.SHUT_WR)
                # To close now would make the other end's kernel discard what it has not read.
                while await self._receive():
                    pass

    def drop(self, reason: str) -> None:
        """Send an unauthenticated client why its connection is closed, without waiting."""
        if self._tls is None:
            with suppress(OSError):
                self._socket.send(encode(ErrorMessage(error=reason, again=True)))

    def close(self) -> None:
        """Close the socket, on which nothing may be in progress; safe to call twice."""
        self._socket.close()

    async def _receive(self) -> bytes:
        await yield_to_others()
        try:
            data = await self._loop.sock_recv(self._socket, _READ)
        except OSError as error:
            raise Disconnected(str(error)) from error
        if not data:
            raise Disconnected("the client has closed the connection")
        return data

    async def _feed(self, data: bytes) -> None:
        """Add received bytes to the lines, decrypted."""
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
                    await self._send_bytes(b"")

    async def _send_bytes(self, data: bytes) -> None:
        """Send data, and the records of TLS itself, in the order in which they were encrypted."""
        await yield_to_others()
        if self._tls is not None:
            if data:
                self._tls.send(data)
            data = self._tls.outgoing()
        try:
            await self._loop.sock_sendall(self._socket, data)
        except OSError as error:
            raise Disconnected(str(error)) from error


@types.coroutine
def yield_to_others() -> Generator[None, None, None]:
    """Let other connections run, since a socket that is always ready never waits."""
    yield


def configure(sock: socket.socket) -> str:
    """Set the options of an accepted socket, and return the address at the other end.

    Raises:
        OSError: the other end has disconnected already.
    """
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # The kernel detects that the machine at the other end no longer answers.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {
        "TCP_KEEPIDLE": _KEEPALIVE // 2,
        "TCP_KEEPINTVL": 5,
        "TCP_KEEPCNT": 6,
        "TCP_USER_TIMEOUT": _KEEPALIVE * 1000,
    }
    for name, value in options.items():
        if (option := getattr(socket, name, None)) is not None:  # not every system has all of them
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
    host, port = sock.getpeername()[:2]
    return f"{host}:{port}"
