"""A client's connection to a server of sessions."""

from __future__ import annotations

import ipaddress
import itertools
import math
import os
import socket
import ssl
import threading
import time
from contextlib import suppress
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
    ErrorMessage,
    InitMessage,
    InputMessage,
    MalformedMessage,
    OutputMessage,
    RemoteMessage,
    TerminateMessage,
    decode,
    encode,
)
from claude_mpm.wire.tls import TlsLayer

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONNECTING = 10.0  # seconds
_ANSWERING = 600.0  # seconds; a start may have an image loaded
_READ = 1 << 18
_LONGEST_TOKEN = 1 << 12


class ServerAddress(msgspec.Struct, frozen=True, kw_only=True):
    """The address of a server, and how both sides are authenticated.

    Args:
        address: "host:port".
        token: authenticates this client.
        token_file: a file with the token, read at each connection; it replaces `token`.
        tls: whether to use TLS; without it, the server must be on this machine.
        ca: a file with the authority of the server's certificate; empty for the system's.
        client_cert, client_key: files with the client's certificate, if the server requires one.
        server_name: the name in the server's certificate; empty for that of the address.
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


class ServerConnection:
    """One connection for one session; one thread may read while others write.

    Args:
        server: the server.
        session: the name of the session.
        follow: the offset from which the connection carries the session's journal; None for one
            that carries requests and responses.

    Raises:
        LinkCut: the server cannot be reached.
        FarFailed: it has refused the client, or could not be authenticated.
    """

    def __init__(self, server: ServerAddress, session: str, follow: int | None = None) -> None:
        self._server = server
        self._lines = LineBuffer(LONGEST_LINE)
        self._ids = itertools.count(1)
        # Held while the TLS layer and the socket are written, so that records stay in order:
        # one thread may read while others write.
        self._sending = threading.Lock()
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
            self._start_tls()
            with suppress(LinkCut):  # it may have refused us already, and said why
                self.send(
                    InitMessage(token=token, protocol=PROTOCOL, session=session, follow=follow)
                )
            answer = self.receive()
            if not isinstance(answer, OutputMessage) or answer.protocol != PROTOCOL:
                raise FarFailed(f"{server.address} speaks another version of the protocol")
        except BaseException:
            self.close()
            raise

    def send(self, message: RemoteMessage) -> None:
        """Send a message.

        Raises:
            LinkCut: the connection has ended.
        """
        data = encode(message)
        with self._sending:
            if self._tls is not None:
                self._tls.send(data)
                data = self._tls.outgoing()
            self._send_bytes(data)

    def receive(self, deadline: float = math.inf) -> RemoteMessage:
        """Return the next message.

        Args:
            deadline: when to give up, as `monotonic` has it, though something comes all the time.

        Raises:
            LinkCut: the connection has ended, or the server is being stopped.
            FarFailed: the server has refused the request, or does not speak our protocol.
        """
        try:
            while (line := self._lines.next()) is None:
                self._read()
                if time.monotonic() > deadline:
                    raise LinkCut(f"{self._server.address}: no answer in all this time")
            message = decode(line)
        except (MalformedMessage, LineTooLong) as error:
            self.usable = False
            raise FarFailed(f"{self._server.address} is no server of sessions: {error}") from error
        if isinstance(message, TerminateMessage):
            self.usable = False
            raise LinkCut(f"{self._server.address}: {message.reason}")
        if isinstance(message, ErrorMessage):
            self.usable = bool(message.id)
            kind = LinkCut if message.again else FarFailed
            raise kind(f"{self._server.address}: {message.error}")
        return message

    def ask(self, request: InputMessage, data: bytes = b"") -> OutputMessage:
        """Send a request and return its response.

        Args:
            data: uploaded with it, of any length.

        Raises:
            LinkCut, FarFailed: as `receive`.
        """
        request_id = next(self._ids)
        for offset, piece in _pieces(data):
            self._send_asking(
                msgspec.structs.replace(
                    request,
                    id=request_id,
                    data=piece,
                    offset=request.offset + offset,
                    size=len(data),
                )
            )
        deadline = time.monotonic() + _ANSWERING
        while True:
            response = self.receive(deadline)
            if isinstance(response, OutputMessage) and response.id == request_id:
                return response

    def _send_asking(self, request: InputMessage) -> None:
        """Send a piece of a request, to which no other thread reads the response.

        Raises:
            LinkCut, FarFailed: as `receive`: a server that has closed the connection may have said
                why it takes no more.
        """
        try:
            self.send(request)
        except LinkCut as cut:
            if not isinstance(cut.__cause__, ConnectionError):  # it is open, and only silent
                raise
            try:
                while True:
                    self.receive()
            except LinkCut:
                if not self.usable:  # the server's own words
                    raise
            raise

    def close(self) -> None:
        """Close the connection, also while another thread reads from it; safe to call twice."""
        self.usable = False
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return
        finally:
            self._socket.close()

    # --- bytes ------------------------------------------------------------------------------

    def _start_tls(self) -> None:
        server = self._server
        if not server.tls:
            try:
                host = str(self._socket.getpeername()[0]).partition("%")[0]
            except OSError as error:  # the server has ended the connection already
                raise LinkCut(f"{server.address}: {error.strerror or error}") from error
            if not ipaddress.ip_address(host).is_loopback:
                raise FarFailed(f"{server.address} is another machine; connect to it with TLS")
            return
        name = server.server_name or server.host
        self._tls = TlsLayer(_tls_context(server), server_name=name)
        try:
            self._tls.handshake()
            while not self._tls.ready:
                self._send_bytes(self._tls.outgoing())
                self._read()
            self._send_bytes(self._tls.outgoing())
        except ssl.SSLError as error:
            raise self._tls_error(error) from error

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
        with self._sending:
            try:
                self._lines.feed(self._tls.receive(data))
            except ssl.SSLError as error:
                raise self._tls_error(error) from error
            if self._tls.pending:
                self._send_bytes(self._tls.outgoing())

    def _send_bytes(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise LinkCut(f"{self._server.address}: {error.strerror or error}") from error

    def _tls_error(self, error: ssl.SSLError) -> Exception:
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
    """Yield pieces that fit into a message, with their offsets; one empty piece for no data."""
    for offset in range(0, max(len(data), 1), CHUNK):
        yield offset, data[offset : offset + CHUNK]


def _token(server: ServerAddress) -> str:
    """Return the token, which may have changed since the last connection.

    Raises:
        FarFailed: its file cannot be read, or is readable by other users.
    """
    if not server.token_file:
        return server.token
    try:
        with open(server.token_file, encoding="utf-8", opener=_open_nonblocking) as file:
            check_secret(server.token_file, os.fstat(file.fileno()))
            return file.read(_LONGEST_TOKEN).strip()
    except StorageError as error:
        raise FarFailed(f"the token is not used: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise FarFailed(f"the token cannot be read from {server.token_file}: {error}") from error


def _open_nonblocking(path: str, flags: int) -> int:
    """Open a file that may be a FIFO."""
    return os.open(path, flags | os.O_NONBLOCK)


def _tls_context(server: ServerAddress) -> ssl.SSLContext:
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
