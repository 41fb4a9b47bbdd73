"""One client that has said who it is: what it may, and its next message."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from claude_mpm.server.message_socket import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from claude_mpm.server.message_socket import Peer
    from claude_mpm.server.rate_limiter import Pace
    from claude_mpm.server.tokens import Token
    from claude_mpm.server.uploads import Upload
    from claude_mpm.wire.remote import Message


class Client:
    """A connection whose client is known.

    Args:
        peer: the connection.
        token: what the client has shown.
        pace: of all connections with this token.
        is_valid: tells whether the token is valid still.
    """

    def __init__(
        self, peer: Peer, token: Token, pace: Pace, is_valid: Callable[[Token], bool]
    ) -> None:
        self.peer = peer
        self.token = token
        self._pace = pace
        self._is_valid = is_valid

    async def receive(
        self, patience: float | None = None, *, upload: Upload | None = None
    ) -> Message:
        """Return the next message, once it may be taken; a message in pieces is one.

        Args:
            patience: seconds to wait for it; None for what the token is allowed.
            upload: what pieces have come of so far.

        Raises:
            Refused: there was none for too long, or the token was revoked.
            Gone, TooLong, Malformed: as `Peer.receive`.
        """
        idle = self.token.limits.idle if patience is None else patience
        try:
            async with asyncio.timeout(idle):
                message = await self.peer.receive()
        except TimeoutError as error:
            raise Refused(f"there was no message for {idle:g} seconds", again=True) from error
        self.check()
        if upload is None or not upload.is_continued_by(message):
            await self._pace.take()
        return message

    def check(self) -> None:
        """See to it that the token is valid still.

        Raises:
            Refused: it was revoked.
        """
        if not self._is_valid(self.token):
            raise Refused("the token was revoked")


async def first_of(*works: Coroutine[Any, Any, None]) -> None:
    """Do several things at once until one of them ends, and end the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def finish_in_thread(work: Callable[[], None], after: Callable[[], None]) -> None:
    """Do something in a thread, and then `after` here: also where nobody waits for it any more."""

    def done(future: asyncio.Future[None]) -> None:
        if not future.cancelled():
            future.exception()  # whoever waits still is told
        after()

    future = asyncio.ensure_future(asyncio.to_thread(work))
    future.add_done_callback(done)
    await asyncio.shield(future)
