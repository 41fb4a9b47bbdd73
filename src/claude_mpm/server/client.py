"""An authenticated client: its connection, its token's limits, and its next message."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from claude_mpm.server.message_socket import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from claude_mpm.server.admission import Authenticator, RateLimiter
    from claude_mpm.server.message_socket import MessageSocket
    from claude_mpm.server.tokens import Token
    from claude_mpm.server.uploads import Upload
    from claude_mpm.wire.remote import RemoteMessage


class Client:
    """An authenticated connection.

    Args:
        socket: the connection.
        token: what the client was authenticated with.
        rate: limits the messages of all connections with this token.
        authenticator: asked whether the token is still valid.
    """

    def __init__(
        self, socket: MessageSocket, token: Token, rate: RateLimiter, authenticator: Authenticator
    ) -> None:
        self.socket = socket
        self.token = token
        self._rate = rate
        self._authenticator = authenticator

    async def receive(
        self, max_idle: float | None = None, *, upload: Upload | None = None
    ) -> RemoteMessage:
        """Return the next message, within the rate limit; the pieces of an upload count as one.

        Args:
            max_idle: seconds to wait for it; None for the idle time of the token's limits.
            upload: the upload in progress, if any.

        Raises:
            Refused: no message came in time, or the token was revoked.
            Disconnected, LineTooLong, MalformedMessage: as `MessageSocket.receive`.
        """
        idle = self.token.limits.idle if max_idle is None else max_idle
        try:
            async with asyncio.timeout(idle):
                message = await self.socket.receive()
        except TimeoutError as error:
            raise Refused(f"there was no message for {idle:g} seconds", again=True) from error
        if not self._authenticator.is_valid(self.token):
            raise Refused("the token was revoked")
        if upload is None or not upload.is_continued_by(message):
            await self._rate.acquire()
        return message


async def first_of(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run coroutines concurrently until one of them ends, and cancel the others."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def finish_in_thread(work: Callable[[], None], after: Callable[[], None]) -> None:
    """Run `work` in a thread, then `after` in the event loop, even if the caller is cancelled."""

    def done(future: asyncio.Future[None]) -> None:
        if not future.cancelled():
            future.exception()  # retrieved, since a cancelled caller does not; others still get it
        after()

    future = asyncio.ensure_future(asyncio.to_thread(work))
    future.add_done_callback(done)
    await asyncio.shield(future)
