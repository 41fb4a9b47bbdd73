"""What our own client is answered: it works on the folder of one session."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from claude_mpm.errors import MPMError
from claude_mpm.server import session_manager
from claude_mpm.server.client import Client, finish_in_thread, first_of
from claude_mpm.server.journal_stream import ship
from claude_mpm.server.leases import STARTER
from claude_mpm.server.message_socket import Refused
from claude_mpm.server.uploads import MessageUpload, StartUpload, Upload
from claude_mpm.wire.remote import (
    PATIENCE,
    PROTOCOL,
    Error,
    Init,
    Input,
    Message,
    Output,
    Start,
    Terminate,
)

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.server.session_manager import Hosting

_UNTIL_FOLLOWED = 10.0  # seconds that a new session waits for its client, whatever its linger


class Service:
    """Serves one connection of our own client.

    Args:
        client: the connection.
        hosting: the sessions of the server.
        init: the client's first message.
        starting: held while a session of this token is started.
    """

    def __init__(
        self, client: Client, hosting: Hosting, init: Init, starting: asyncio.Lock
    ) -> None:
        self._client = client
        self._hosting = hosting
        self._init = init
        self._starting = starting
        self._folder: SessionFolder = hosting.folder(client.token, init.session)
        self._upload: Upload | None = None
        self._failed = 0  # the question whose further pieces nobody wants

    async def run(self) -> None:
        """Work until the client or the session ends."""
        if self._init.protocol != PROTOCOL:
            raise Refused(f"this server speaks version {PROTOCOL} of the protocol")
        await self._client.peer.send(Output(protocol=PROTOCOL))
        try:
            if self._init.follow is None:
                await self._answer_all()
            else:
                await self._be_followed(self._init.follow)
        finally:
            self._hosting.leases.release(self._folder, self)
            self._forget_upload()

    # --- a connection that carries the journal ----------------------------------------------

    async def _be_followed(self, offset: int) -> None:
        state = session_manager.read_state(self._folder)
        if offset > state.size:
            raise Refused(f"the journal has {state.size} bytes, and none at {offset}")
        await asyncio.to_thread(self._hosting.bring_back, self._folder)
        await first_of(ship(self._client, self._folder, offset), self._listen())

    async def _listen(self) -> None:
        """Do what is said on a connection that carries the journal; nothing of it is answered."""
        while not isinstance(message := await self._client.receive(PATIENCE), Terminate):
            match message:
                case Input(do="hold"):
                    self._hosting.leases.hold(self._folder, self)
                case Input(do="release"):
                    self._hosting.leases.release(self._folder, STARTER)
                    self._hosting.leases.release(self._folder, self)
                case Input(do="beat"):
                    continue
                case _:
                    raise Refused("this connection carries a journal; ask on another one")

    # --- a connection that carries questions ------------------------------------------------

    async def _answer_all(self) -> None:
        while not isinstance(message := await self._client.receive(upload=self._upload), Terminate):
            if not isinstance(message, Input) or message.do == "prompt":
                raise Refused("this connection carries questions")
            await self._answer(message)

    async def _answer(self, question: Input) -> None:
        if question.do in ("start", "put") and question.id == self._failed:
            return
        try:
            answer = await self._work(question)
        except (Refused, MPMError, OSError) as error:
            self._failed = question.id
            self._forget_upload()
            again = isinstance(error, Refused) and error.again
            reason = getattr(error, "strerror", None) or str(error)
            await self._client.peer.send(Error(error=reason, id=question.id, again=again))
        else:
            if answer is not None:
                await self._client.peer.send(answer)

    async def _work(self, question: Input) -> Message | None:
        """Do what is asked and return the answer; None where more pieces must come before."""
        folder = self._folder
        match question.do:
            case "start" | "put":
                if not await self._take(question):
                    return None
            case "state":
                return Output(id=question.id, state=session_manager.read_state(folder))
            case "fetch":
                data = session_manager.read_piece(folder, question.name, question.offset)
                return Output(id=question.id, data=data)
            case "signal":
                await asyncio.to_thread(self._hosting.signal, folder, question.signal)
            case "remove":
                await asyncio.to_thread(session_manager.remove, folder)
            case "beat":
                pass
            case _:
                raise Refused(f"{question.do} belongs on a connection that carries a journal")
        return Output(id=question.id)

    async def _take(self, piece: Input) -> bool:
        """Take a piece of what comes in pieces; tell whether it is whole, and was acted upon."""
        if self._upload is None or self._upload.id != piece.id:
            self._forget_upload()
            self._upload = await self._begin_upload(piece)
        upload = self._upload
        if not upload.add(piece):
            return False
        match upload:
            case StartUpload() as upload:
                await self._start(upload.start())
            case MessageUpload() as upload:
                await asyncio.to_thread(upload.finish)
        self._forget_upload()
        return True

    async def _begin_upload(self, piece: Input) -> Upload:
        """Make room for what is announced to come."""
        token, hosting = self._client.token, self._hosting
        limit = token.limits.message_bytes
        upload: Upload
        if piece.do == "start":
            upload = StartUpload(piece, limit)
        else:
            upload = MessageUpload(piece, limit, self._folder)
        try:
            quota = hosting.quota(token)
            if not quota.hold(upload, upload.in_memory):
                raise Refused(quota.no_memory, again=True)
            await hosting.make_room(token, piece.size)
        except BaseException:
            self._close_upload(upload)
            raise
        return upload

    async def _start(self, start: Start) -> None:
        hosting, folder = self._hosting, self._folder
        loop = asyncio.get_running_loop()

        def wait_for_a_follower() -> None:
            loop.call_later(_UNTIL_FOLLOWED, hosting.leases.release, folder, STARTER)

        async with self._starting:
            work = partial(hosting.start, self._client.token, folder, start)
            await finish_in_thread(work, wait_for_a_follower)

    def _forget_upload(self) -> None:
        if self._upload is not None:
            self._close_upload(self._upload)
            self._upload = None

    def _close_upload(self, upload: Upload) -> None:
        upload.close()
        self._hosting.quota(self._client.token).drop(upload)
