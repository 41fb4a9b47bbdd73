"""One connection, from the moment it is accepted to its end."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from claude_mpm.errors import MPMError
from claude_mpm.server.client import Client
from claude_mpm.server.conversation import TextConversation
from claude_mpm.server.message_socket import FAREWELL, Gone, Peer, Refused, prepare
from claude_mpm.server.neighbour import check_neighbour
from claude_mpm.server.pending_connections import (
    DEADLINE,
    FIRST_MESSAGE,
    FIRST_WITH_FRAMEWORK,
    Door,
)
from claude_mpm.server.session_protocol import Service
from claude_mpm.wire.remote import LONGEST_LINE, Error, Init, Malformed, Terminate, TooLong
from claude_mpm.wire.tls import TlsLayer

if TYPE_CHECKING:
    import socket
    import ssl

    from claude_mpm.server.authenticator import Reception
    from claude_mpm.server.conversation import MakeOrchestrator
    from claude_mpm.server.session_manager import Hosting
    from claude_mpm.server.tokens import Token

_log = logging.getLogger(__name__)
_CROWDED = "too many connections that have not said who they are; try again"


class Services:
    """What every connection of a server needs.

    Args:
        door: where connections wait until their client is known.
        reception: finds out who it is.
        hosting: the sessions.
        make: makes the orchestrator of a client that knows text alone.
        tls: the server's certificate; None for plain text.
    """

    def __init__(
        self,
        reception: Reception,
        hosting: Hosting,
        make: MakeOrchestrator,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.door = Door()
        self.reception = reception
        self.hosting = hosting
        self.make = make
        self.tls = tls


class Connection:
    """Serves one accepted socket.

    Args:
        sock: the socket.
        services: what the server has.
    """

    def __init__(self, sock: socket.socket, services: Services) -> None:
        self._socket = sock
        self._services = services
        tls = TlsLayer(services.tls, server_side=True) if services.tls else None
        anyone = services.reception.anonymous is not None
        self._peer = Peer(sock, tls, FIRST_WITH_FRAMEWORK if anyone else FIRST_MESSAGE)
        self._token: Token | None = None
        self._last_words: Error | Terminate | None = None

    async def serve(self) -> None:
        """Serve the client until it or the server ends the connection."""
        address = "unknown"
        try:
            address = prepare(self._socket)
            await self._converse(address)
        except (Refused, MPMError, Malformed, TooLong) as error:
            _log.info("%s: refused: %s", address, error)
            await self._peer.say_last(Error(error=str(error), again=_may_change(error)))
        except (Gone, OSError) as error:
            _log.info("%s: gone: %s", address, error)
        except asyncio.CancelledError:
            await self._leave(address)
        finally:
            self._peer.close()

    async def end(self, task: asyncio.Task[None], last_words: Error | Terminate) -> None:
        """End the work of `task`, between two messages if the client takes them."""
        self._last_words = last_words
        try:
            async with asyncio.timeout(FAREWELL), self._peer.sending:
                task.cancel()
        except TimeoutError:
            task.cancel()

    def close(self) -> None:
        """Close the socket of a connection whose work is done; safe to call twice."""
        self._peer.close()

    def has_lost_its_token(self) -> bool:
        """Tell whether the client is known by a token that is valid no more."""
        return self._token is not None and not self._services.reception.is_valid(self._token)

    async def _converse(self, address: str) -> None:
        try:
            async with asyncio.timeout(DEADLINE):
                await self._peer.handshake()
                init = await self._peer.receive()
        except TimeoutError as error:
            raise Refused(f"there was no first message for {DEADLINE:g} seconds") from error
        if not isinstance(init, Init):
            raise Refused("the first message must be `init`")
        token = self._token = self._services.reception.identify(init)
        self._services.door.leave(asyncio.current_task())
        if token is self._services.reception.anonymous:
            check_neighbour(self._socket)
        account = self._services.reception.account(token)
        account.enter()
        try:
            self._peer.quota = self._services.hosting.quota(token)
            self._peer.lines.limit = max(token.limits.message_bytes, LONGEST_LINE)
            _log.info("%s: client %s, session %r", address, token.name, init.session[:80])
            client = Client(self._peer, token, account.pace, self._services.reception.is_valid)
            await self._work(client, init, account.starting)
        finally:
            if self._peer.quota is not None:
                self._peer.quota.drop(self._peer)
            account.leave()

    async def _work(self, client: Client, init: Init, starting: asyncio.Lock) -> None:
        hosting = self._services.hosting
        if init.protocol or init.session:
            await Service(client, hosting, init, starting).run()
        else:
            make = self._services.make
            await TextConversation(client, hosting, make, init, starting).run()

    async def _leave(self, address: str) -> None:
        """Say the last words, now that the work was ended from outside."""
        task = asyncio.current_task()
        assert task is not None
        task.uncancel()  # else nothing could be awaited with a time limit
        if self._last_words is None:
            _log.info("%s: sent away: %s", address, _CROWDED)
            self._peer.drop(_CROWDED)
        else:
            await self._peer.say_last(self._last_words)


def _may_change(error: Exception) -> bool:
    return isinstance(error, Refused) and error.again
