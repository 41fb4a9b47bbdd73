"""A client's connection to a server of sessions: questions go there, answers and journals come."""

from __future__ import annotations

import ipaddress
import itertools
import os
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.errors import StorageError
from claude_mpm.folders import check_secret
from claude_mpm.link.far import FarFailed, LinkCut
from claude_mpm.wire.framing import LineBuffer, LineTooLong
from claude_mpm.wire.remote import (
    CHUNK,
    LONGEST_LINE,
    PATIENCE,
    PROTOCOL,
    Error,
    Init,
    Input,
    Malformed,
    Message,
    Output,
    Terminate,
    decode,
    encode,
)
from claude_mpm.wire.tls import TlsLayer

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONNECTING = 10.0  # seconds
_READ = 1 << 18
_LONGEST_TOKEN = 1 << 12


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server is, and how both sides prove who they are.

    Args:
        address: "host:port".
        token: who we are.
        token_file: a file with the token, read at each connection; it wins over `token`.
        tls: whether TLS is spoken; without it the server must be on this machine.
        ca: a file with the authority of the server's certificate; the system's own if it is empty.
        client_cert, client_key: files with our certificate, where the server wants one.
        server_name: the name in the server's certificate; that of the address if it is empty.
    """

    address: str
    token: str = ""
    token_file: str = ""
    tls: bool = True
    ca: str = ""
    client_cert: str = ""
    client_key: str = ""
    server_name: str = ""

    @property
    def host(self) -> str:
        """The host of the address."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.address.rpartition(":")[2])


class Connection:
    """One connection for one session; one thread may read while others write.

    Args:
        server: where to.
        session: the name of the session.
        follow: the byte from which the connection carries the session's journal; None for one
            that carries questions and answers.

    Raises:
        LinkCut: the server cannot be reached.
        FarFailed: it has refused us, or is not the one it must be.
    """

    def __init__(self, server: Server, session: str, follow: int | None = None) -> None:
        self._server = server
        self._lines = LineBuffer(LONGEST_LINE)
        self._numbers = itertools.count(1)
        self._speaking = threading.Lock()
        self._tls: TlsLayer | None = None
        self.usable = True
        token = _token(server)
        try:
            self._socket = socket.create_connection((server.host, server.port), _CONNECTING)
        except OSError as error:
            raise LinkCut(f"{server.address}: {error.strerror or error}") from error
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.settimeout(PATIENCE)
            self._agree_on_tls()
            self.send(Init(token=token, protocol=PROTOCOL, session=session, follow=follow))
            answer = self.receive()
            if not isinstance(answer, Output) or answer.protocol != PROTOCOL:
                raise FarFailed(f"{server.address} speaks another version of the protocol")
        except BaseException:
            self.close()
            raise

    def send(self, message: Message) -> None:
        """Send a message.

        Raises:
            LinkCut: the connection has ended.
        """
        data = encode(message)
        with self._speaking:
            if self._tls is not None:
                self._tls.send(data)
                data = self._tls.outgoing()
            self._hand_over(data)

    def receive(self) -> Message:
        """Return the next message.

        Raises:
            LinkCut: the connection has ended, or the server is being stopped.
            FarFailed: the server has refused what was asked for, or does not speak our protocol.
        """
        try:
            while (line := self._lines.next()) is None:
                self._read()
            message = decode(line)
        except (Malformed, LineTooLong) as error:
            self.usable = False
            raise FarFailed(f"{self._server.address} is no server of sessions: {error}") from error
        if isinstance(message, Terminate):
            self.usable = False
            raise LinkCut(f"{self._server.address}: {message.reason}")
        if isinstance(message, Error):
            self.usable = bool(message.id)
            kind = LinkCut if message.again else FarFailed
            raise kind(f"{self._server.address}: {message.error}")
        return message

    def ask(self, question: Input, data: bytes = b"") -> Output:
        """Ask a question and return its answer.

        Args:
            data: what comes with it, of any length.

        Raises:
            LinkCut, FarFailed: as `receive`.
        """
        number = next(self._numbers)
        for offset, piece in _pieces(data):
            self.send(
                msgspec.structs.replace(
                    question,
                    id=number,
                    data=piece,
                    offset=question.offset + offset,
                    size=len(data),
                )
            )
        while True:
            answer = self.receive()
            if isinstance(answer, Output) and answer.id == number:
                return answer

    def close(self) -> None:
        """End the connection, also one that is being read; safe to call twice."""
        self.usable = False
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return
        finally:
            self._socket.close()

    # --- bytes ------------------------------------------------------------------------------

    def _agree_on_tls(self) -> None:
        server = self._server
        if not server.tls:
            host = str(self._socket.getpeername()[0]).partition("%")[0]
            if not ipaddress.ip_address(host).is_loopback:
                raise FarFailed(f"{server.address} is another machine; connect to it with TLS")
            return
        name = server.server_name or server.host
        self._tls = TlsLayer(_trust(server), server_name=name)
        try:
            self._tls.handshake()
            while not self._tls.ready:
                self._hand_over(self._tls.outgoing())
                self._read()
            self._hand_over(self._tls.outgoing())
        except ssl.SSLError as error:
            raise self._of_tls(error) from error

    def _read(self) -> None:
        try:
            data = self._socket.recv(_READ)
        except OSError as error:
            raise LinkCut(f"{self._server.address}: {error.strerror or error}") from error
        if not data:
            raise LinkCut(f"{self._server.address}: the connection has ended")
        if self._tls is None:
            self._lines.feed(data)
            return
        with self._speaking:
            try:
                self._lines.feed(self._tls.receive(data))
            except ssl.SSLError as error:
                raise self._of_tls(error) from error
            if self._tls.pending:
                self._hand_over(self._tls.outgoing())

    def _hand_over(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise LinkCut(f"{self._server.address}: {error.strerror or error}") from error

    def _of_tls(self, error: ssl.SSLError) -> Exception:
        address = self._server.address
        reason = str(error.reason or error)
        if isinstance(error, ssl.SSLCertVerificationError):
            return FarFailed(f"{address} is not who it says: {error.verify_message}")
        if "ALERT" in reason:
            return FarFailed(f"{address} refused our certificate, or that we have none: {reason}")
        if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL"):
            return FarFailed(f"{address} does not speak TLS")
        return LinkCut(f"{address}: {reason}")


def _pieces(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield what fits into one message each, with its place; one empty piece for nothing."""
    for offset in range(0, max(len(data), 1), CHUNK):
        yield offset, data[offset : offset + CHUNK]


def _token(server: Server) -> str:
    """Return the token, which may have been changed since the last connection.

    Raises:
        FarFailed: its file cannot be read, or others can read it, too.
    """
    if not server.token_file:
        return server.token
    try:
        with open(server.token_file, encoding="utf-8", opener=_without_waiting) as file:
            check_secret(server.token_file, os.fstat(file.fileno()))
            return file.read(_LONGEST_TOKEN).strip()
    except StorageError as error:
        raise FarFailed(f"the token is not used: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise FarFailed(f"the token cannot be read from {server.token_file}: {error}") from error


def _without_waiting(path: str, flags: int) -> int:
    """Open a file that may be a FIFO."""
    return os.open(path, flags | os.O_NONBLOCK)


def _trust(server: Server) -> ssl.SSLContext:
    """Return what the server's certificate is checked against, with our own.

    Raises:
        FarFailed: a file is missing, or is not what it must be.
    """
    try:
        context = ssl.create_default_context(cafile=server.ca or None)
        if server.client_cert:
            context.load_cert_chain(server.client_cert, server.client_key or None)
    except OSError as error:
        files = ", ".join(
            each for each in (server.ca, server.client_cert, server.client_key) if each
        )
        raise FarFailed(f"no TLS with {files}: {error.strerror or error}") from error
    return context
