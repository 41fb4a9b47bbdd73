"""Which connections are admitted: unauthenticated ones, authentication, what one token may use."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from claude_mpm.errors import StorageError
from claude_mpm.server.message_socket import Refused
from claude_mpm.server.tokens import Token, Tokens, anonymous

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from claude_mpm.wire.remote import InitMessage

    # The local and the remote end of a TCP connection.
    Endpoints = tuple[tuple[ipaddress.IPv6Address, int], tuple[ipaddress.IPv6Address, int]]

_log = logging.getLogger(__name__)
# How many connections may be unauthenticated at once, and for how many seconds each.
MAX_PENDING, AUTHENTICATION_TIMEOUT = 200, 10.0
# The longest first message, in bytes. Where no token is required, it brings a framework.
FIRST_MESSAGE, FIRST_WITH_FRAMEWORK = 1 << 16, 1 << 18
# Our client has two per session, and opens new ones before the server notices the cut of old ones.
_CONNECTIONS_PER_SESSION, _SPARE_CONNECTIONS = 6, 8
_BURST = 2.0  # seconds' worth of messages that may come at once after a silence

# Whether the system reports which user has the other end of a local connection.
REPORTS_PEER_UID = sys.platform.startswith("linux")
_TCP_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))  # proc_pid_net(5)


class PendingConnections:
    """Connections that are not authenticated yet; the oldest is closed when there are too many."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], None] = {}

    def add(self, task: asyncio.Task[None]) -> None:
        """Add a new connection, which `task` handles."""
        self._tasks[task] = None
        if len(self._tasks) > MAX_PENDING:
            self.close_oldest()

    def remove(self, task: asyncio.Task[None] | None) -> None:
        """Remove a connection that was authenticated or has ended; safe to call twice."""
        if task is not None:
            self._tasks.pop(task, None)

    def close_oldest(self) -> None:
        """Close the connection that has been pending for the longest time."""
        oldest = next(iter(self._tasks), None)
        if oldest is not None:
            self.remove(oldest)
            oldest.cancel()


class RateLimiter:
    """Limits the messages per second; a client that sends faster is read more slowly.

    Twice as many are let through at once after a silence. Nothing is lost.

    Args:
        rate: messages per second.
    """

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate
        self._next = 0.0  # when the credit is used up, on the event loop's clock

    async def acquire(self) -> None:
        """Wait until one more message may be processed."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._next = max(self._next, now - _BURST) + self._interval
        if self._next > now:
            elapsed = loop.create_future()
            timer = loop.call_at(self._next, elapsed.set_result, None)
            try:
                await elapsed
            finally:
                timer.cancel()


class TokenQuota:
    """What all connections with one token share.

    Args:
        token: as it was when the first of them came.

    Attributes:
        rate: limits the messages of all of them together.
        starting: held while a session is counted and started, so that two starts at once cannot
            both take the last free place.
    """

    def __init__(self, token: Token) -> None:
        self.rate = RateLimiter(token.limits.rate)
        self.starting = asyncio.Lock()
        self._max = token.limits.sessions * _CONNECTIONS_PER_SESSION + _SPARE_CONNECTIONS
        self._connections = 0

    def add_connection(self) -> None:
        """Count one more connection.

        Raises:
            Refused: there are too many.
        """
        if self._connections >= self._max:
            raise Refused(f"this token has {self._connections} connections already", again=True)
        self._connections += 1

    def remove_connection(self) -> None:
        """Count one connection less."""
        self._connections -= 1


class Authenticator:
    """Checks the tokens of clients.

    Args:
        tokens: the valid ones.
        allow_anonymous: whether clients without a token may connect.
    """

    def __init__(self, tokens: Tokens, *, allow_anonymous: bool) -> None:
        self._tokens = tokens
        self.anonymous = anonymous() if allow_anonymous else None
        self._quotas: dict[str, TokenQuota] = {}

    def authenticate(self, init: InitMessage) -> Token:
        """Return the token of a client.

        Raises:
            Refused: it has none, or an invalid one.
        """
        if not init.token:
            if self.anonymous is None:
                raise Refused("a token is needed; `claude-mpm serve token add` makes one")
            return self.anonymous
        try:
            token = self._tokens.find(init.token)
        except StorageError as error:
            _log.error("%s", error)  # it names a file, which is not for the client
            raise Refused("the server cannot read its tokens", again=True) from error
        if token is None:
            raise Refused("the token is wrong, or was revoked")
        return token

    def is_valid(self, token: Token) -> bool:
        """Return whether a token is still valid."""
        try:
            return token is self.anonymous or self._tokens.is_valid(token)
        except StorageError as error:
            _log.error("%s", error)
            return False

    def quota(self, token: Token) -> TokenQuota:
        """Return what the connections with a token share."""
        if token.id not in self._quotas:
            self._quotas[token.id] = TokenQuota(token)
        return self._quotas[token.id]


def check_peer_uid(sock: socket.socket) -> None:
    """Admit only this user and root without a token, where the system reports the peer's user.

    Raises:
        Refused: it is another user, or has disconnected already.
    """
    if not REPORTS_PEER_UID:
        return
    ends = _endpoint(*sock.getpeername()[:2]), _endpoint(*sock.getsockname()[:2])
    owner = next((uid for endpoints, uid in _tcp_connections() if endpoints == ends), None)
    if owner is None:
        raise Refused("it cannot be seen whose connection this is; use a token")
    if owner not in (os.geteuid(), 0):
        raise Refused(f"without a token, only the server's own user may connect, not uid {owner}")


def _tcp_connections() -> Iterator[tuple[Endpoints, int]]:
    """Yield this machine's TCP connections that a process has open, with the user id of each."""
    for table in _TCP_TABLES:
        try:
            lines = table.read_text("ascii").splitlines()[1:]
        except OSError:  # no IPv6
            continue
        for line in lines:
            fields = line.split()
            if fields[9] != "0":  # the inode: without one, the kernel reports user 0 as well
                yield (_parse_endpoint(fields[1]), _parse_endpoint(fields[2])), int(fields[7])


def _parse_endpoint(text: str) -> tuple[ipaddress.IPv6Address, int]:
    """Parse an address and port as the kernel prints them: 32-bit words in native byte order."""
    address, _, port = text.partition(":")
    words = [bytes.fromhex(address[at : at + 8]) for at in range(0, len(address), 8)]
    if sys.byteorder == "little":
        words = [word[::-1] for word in words]
    return _endpoint(str(ipaddress.ip_address(b"".join(words))), int(port, 16))


def _endpoint(address: str, port: int) -> tuple[ipaddress.IPv6Address, int]:
    """Return an endpoint with its address as IPv6, in which both families can be written."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv4Address):
        parsed = ipaddress.IPv6Address(f"::ffff:{parsed}")
    return parsed, port
