"""Who is let in, and what the connections of one token share."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from claude_mpm.errors import StorageError
from claude_mpm.server.message_socket import Refused
from claude_mpm.server.rate_limiter import Pace
from claude_mpm.server.tokens import Token, Tokens, anonymous

if TYPE_CHECKING:
    from claude_mpm.wire.remote import Init

_log = logging.getLogger(__name__)
# Our client has two for each session, and new ones before the server hears that the old are cut.
_CONNECTIONS_PER_SESSION, _MORE_CONNECTIONS = 6, 8


class Account:
    """What the connections of one token share.

    Args:
        token: as it was when the first of them came.
    """

    def __init__(self, token: Token) -> None:
        self.pace = Pace(token.limits.rate)
        self.starting = asyncio.Lock()  # held while a session is counted and started
        self._most = token.limits.sessions * _CONNECTIONS_PER_SESSION + _MORE_CONNECTIONS
        self._connections = 0

    def enter(self) -> None:
        """Count one more connection.

        Raises:
            Refused: there are too many.
        """
        if self._connections >= self._most:
            raise Refused(f"this token has {self._connections} connections already", again=True)
        self._connections += 1

    def leave(self) -> None:
        """Count one less."""
        self._connections -= 1


class Reception:
    """Finds out who a client is.

    Args:
        tokens: who may come.
        lets_anyone_in: whether those without a token may, too.
    """

    def __init__(self, tokens: Tokens, *, lets_anyone_in: bool) -> None:
        self._tokens = tokens
        self.anonymous = anonymous() if lets_anyone_in else None
        self._accounts: dict[str, Account] = {}

    def identify(self, init: Init) -> Token:
        """Return the token of a client.

        Raises:
            Refused: it has none, or a wrong one.
        """
        if not init.token:
            if self.anonymous is None:
                raise Refused("a token is needed; `claude-mpm serve token add` makes one")
            return self.anonymous
        try:
            token = self._tokens.find(init.token)
        except StorageError as error:
            _log.error("%s", error)  # which names a file, and is none of the client's business
            raise Refused("the server cannot read its tokens", again=True) from error
        if token is None:
            raise Refused("the token is wrong, or was revoked")
        return token

    def is_valid(self, token: Token) -> bool:
        """Tell whether a token is valid still."""
        try:
            return token is self.anonymous or self._tokens.holds(token)
        except StorageError as error:
            _log.error("%s", error)
            return False

    def account(self, token: Token) -> Account:
        """Return what the connections of a token share."""
        if token.id not in self._accounts:
            self._accounts[token.id] = Account(token)
        return self._accounts[token.id]
