"""One accepted connection: authentication, then the protocol that its client speaks."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from claude_mpm.errors import MPMError
from claude_mpm.server.admission import (
    AUTHENTICATION_TIMEOUT,
    FIRST_MESSAGE,
    FIRST_WITH_FRAMEWORK,
    PendingConnections,
    check_peer_uid,
)
from claude_mpm.server.client import Client
from claude_mpm.server.message_socket import (
    CLOSE_TIMEOUT,
    Disconnected,
    MessageSocket,
    Refused,
    configure,
)
from claude_mpm.server.session_protocol import SessionProtocol
from claude_mpm.server.text_protocol import TextProtocol
from claude_mpm.wire.framing import LineTooLong
from claude_mpm.wire.remote import (
    LONGEST_LINE,
    ErrorMessage,
    InitMessage,
    MalformedMessage,
    TerminateMessage,
)
from claude_mpm.wire.tls import TlsLayer

if TYPE_CHECKING:
    import socket
    import ssl

    from claude_mpm.server.admission import Authenticator
    from claude_mpm.server.session_manager import SessionManager
    from claude_mpm.server.text_protocol import MakeOrchestrator
    from claude_mpm.server.tokens import Token

_log = logging.getLogger(__name__)
_CROWDED = "too many connections that have not said who they are; try again"


class ServerContext:
    """What all connections of a server share.

    Args:
        authenticator: checks the clients' tokens.
        sessions: the sessions that the server hosts.
        make_orchestrator: makes the orchestrator for a client that sends text alone.
        tls: the server's certificate; None for plain text.

    Attributes:
        pending: the connections that are not authenticated yet.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        sessions: SessionManager,
        make_orchestrator: MakeOrchestrator,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.pending = PendingConnections()
        self.authenticator = authenticator
        self.sessions = sessions
        self.make_orchestrator = make_orchestrator
        self.tls = tls


class ConnectionHandler:
    """Handles one accepted connection.

    Args:
        sock: its socket.
        context: what the server's connections share.
    """

    def __init__(self, sock: socket.socket, context: ServerContext) -> None:
        self._raw_socket = sock
        self._context = context
        tls = TlsLayer(context.tls, server_side=True) if context.tls else None
        anyone = context.authenticator.anonymous is not None
        limit = FIRST_WITH_FRAMEWORK if anyone else FIRST_MESSAGE
        self._socket = MessageSocket(sock, tls, limit)
        self._token: Token | None = None
        self._last_message: ErrorMessage | TerminateMessage | None = None

    async def run(self) -> None:
        """Serve the client until it or the server ends the connection."""
        address = "unknown"
        try:
            address = configure(self._raw_socket)
            await self._serve(address)
        except (Refused, MPMError, MalformedMessage, LineTooLong) as error:
            _log.info("%s: refused: %s", address, error)
            again = isinstance(error, Refused) and error.again
            await self._socket.send_last(ErrorMessage(error=str(error), again=again))
        except (Disconnected, OSError) as error:
            _log.info("%s: gone: %s", address, error)
        except asyncio.CancelledError:
            await self._close_after_cancel(address)
        finally:
            self._socket.close()

    async def stop(
        self, task: asyncio.Task[None], last_message: ErrorMessage | TerminateMessage
    ) -> None:
        """Cancel `task`, which runs this handler, between two messages if the client reads them."""
        self._last_message = last_message
        try:
            # Whoever sends holds the lock until the kernel has the whole message.
            async with asyncio.timeout(CLOSE_TIMEOUT), self._socket.sending:
                task.cancel()
        except TimeoutError:
            task.cancel()

    def close(self) -> None:
        """Close the socket of a connection that has ended; safe to call twice."""
        self._socket.close()

    def is_revoked(self) -> bool:
        """Return whether the client was authenticated with a token that is no longer valid."""
        return self._token is not None and not self._context.authenticator.is_valid(self._token)

    async def _serve(self, address: str) -> None:
        authenticator = self._context.authenticator
        init = await self._receive_init()
        token = self._token = authenticator.authenticate(init)
        self._context.pending.remove(asyncio.current_task())
        if token is authenticator.anonymous:
            check_peer_uid(self._raw_socket)
        quota = authenticator.quota(token)
        quota.add_connection()
        try:
            longest = max(token.limits.message_bytes, LONGEST_LINE)
            self._socket.admit(self._context.sessions.quota(token), longest)
            _log.info("%s: client %s, session %r", address, token.name, init.session[:80])
            client = Client(self._socket, token, quota.rate, authenticator)
            await self._run_protocol(client, init, quota.starting)
        finally:
            if self._socket.quota is not None:
                self._socket.quota.drop(self._socket)
            quota.remove_connection()

    async def _receive_init(self) -> InitMessage:
        try:
            async with asyncio.timeout(AUTHENTICATION_TIMEOUT):
                await self._socket.handshake()
                init = await self._socket.receive()
        except TimeoutError as error:
            raise Refused(
                f"there was no first message for {AUTHENTICATION_TIMEOUT:g} seconds"
            ) from error
        if not isinstance(init, InitMessage):
            raise Refused("the first message must be `init`")
        return init

    async def _run_protocol(
        self, client: Client, init: InitMessage, starting: asyncio.Lock
    ) -> None:
        sessions = self._context.sessions
        if init.protocol or init.session:
            await SessionProtocol(client, sessions, init, starting).run()
        else:
            make = self._context.make_orchestrator
            await TextProtocol(client, sessions, make, init, starting).run()

    async def _close_after_cancel(self, address: str) -> None:
        """Send the last message of a connection that the server ends."""
        task = asyncio.current_task()
        assert task is not None
        task.uncancel()  # else nothing could be awaited with a time limit
        if self._last_message is None:
            _log.info("%s: sent away: %s", address, _CROWDED)
            self._socket.drop(_CROWDED)
        else:
            await self._socket.send_last(self._last_message)
