"""The protocol of our own client, which works on the folder of one session."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from claude_mpm.errors import MPMError
from claude_mpm.server import session_manager
from claude_mpm.server.client import Client, finish_in_thread, first_of
from claude_mpm.server.journal_stream import stream_journal
from claude_mpm.server.message_socket import Refused
from claude_mpm.server.readers import leave, note_reader
from claude_mpm.server.session_manager import STARTER
from claude_mpm.server.uploads import MessageUpload, RecordUpload, StartUpload, Upload
from claude_mpm.wire.remote import (
    PATIENCE,
    PROTOCOL,
    UPLOADS,
    ErrorMessage,
    InitMessage,
    InputMessage,
    OutputMessage,
    RemoteMessage,
    StartParameters,
    TerminateMessage,
)

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.server.session_manager import SessionManager

_FIRST_FOLLOWER_TIMEOUT = 10.0  # seconds that a new session waits for it, whatever its linger


class SessionProtocol:
    """Serves one connection of our own client.

    Args:
        client: the connection.
        sessions: the sessions of the server.
        init: the client's first message.
        starting: held while a session of this token is started.
    """

    def __init__(
        self, client: Client, sessions: SessionManager, init: InitMessage, starting: asyncio.Lock
    ) -> None:
        self._client = client
        self._sessions = sessions
        self._init = init
        self._starting = starting
        self._folder: SessionFolder = sessions.folder(client.token, init.session)
        self._upload: Upload | None = None
        self._failed = 0  # id of a failed request, whose remaining pieces are ignored

    async def run(self) -> None:
        """Serve the client until it or the session ends."""
        if self._init.protocol != PROTOCOL:
            raise Refused(f"this server speaks version {PROTOCOL} of the protocol")
        await self._client.socket.send(OutputMessage(protocol=PROTOCOL))
        try:
            if self._init.follow is None:
                await self._answer_requests()
            else:
                await self._stream_journal(self._init.follow)
        finally:
            self._sessions.leases.release(self._folder, self)
            self._discard_upload()

    # --- a connection that carries the journal ----------------------------------------------

    async def _stream_journal(self, offset: int) -> None:
        state = session_manager.read_state(self._folder)
        if offset > state.size:
            raise Refused(f"the journal has {state.size} bytes, and none at {offset}")
        await asyncio.to_thread(self._sessions.restart_link, self._folder)
        stream = stream_journal(self._client, self._folder, offset)
        await first_of(stream, self._receive_lease_changes())

    async def _receive_lease_changes(self) -> None:
        """Handle the messages of a connection that carries the journal; none is answered."""
        while not isinstance(message := await self._client.receive(PATIENCE), TerminateMessage):
            match message:
                case InputMessage(do="hold"):
                    self._sessions.leases.hold(self._folder, self)
                case InputMessage(do="release"):
                    self._sessions.leases.release(self._folder, STARTER)
                    self._sessions.leases.release(self._folder, self)
                case InputMessage(do="beat"):
                    continue
                case _:
                    raise Refused("this connection carries a journal; ask on another one")

    # --- a connection that carries requests -------------------------------------------------

    async def _answer_requests(self) -> None:
        while not isinstance(
            message := await self._client.receive(upload=self._upload), TerminateMessage
        ):
            if not isinstance(message, InputMessage) or message.do == "prompt":
                raise Refused("this connection carries questions")
            await self._answer(message)

    async def _answer(self, request: InputMessage) -> None:
        if request.do in UPLOADS and request.id == self._failed:
            return
        try:
            response = await self._execute(request)
        except (Refused, MPMError, OSError) as error:
            self._failed = request.id
            self._discard_upload()
            again = isinstance(error, Refused) and error.again
            reason = getattr(error, "strerror", None) or str(error)
            await self._client.socket.send(ErrorMessage(error=reason, id=request.id, again=again))
        else:
            if response is not None:
                await self._client.socket.send(response)

    async def _execute(self, request: InputMessage) -> RemoteMessage | None:
        """Execute a request and return the response; None while pieces of it are missing."""
        folder = self._folder
        match request.do:
            case "start" | "put" | "keep":
                if not await self._add_piece(request):
                    return None
            case "state":
                note_reader(folder, request.name)
                state = session_manager.read_state(folder, marked=bool(request.name))
                return OutputMessage(id=request.id, state=state)
            case "list":
                listing = partial(self._sessions.summaries, self._client.token)
                summaries = await asyncio.to_thread(listing, request.offset, request.size)
                return OutputMessage(id=request.id, sessions=summaries)
            case "fetch":
                data = session_manager.read_piece(folder, request.name, request.offset)
                return OutputMessage(id=request.id, data=data)
            case "records" | "record":
                return OutputMessage(id=request.id, data=await self._read_record(request))
            case "signal":
                await asyncio.to_thread(self._sessions.signal, folder, request.signal)
            case "remove":
                if leave(folder, request.name):
                    await asyncio.to_thread(session_manager.remove, folder)
            case "beat":
                pass
            case _:
                raise Refused(f"{request.do} belongs on a connection that carries a journal")
        return OutputMessage(id=request.id)

    async def _read_record(self, request: InputMessage) -> bytes:
        """Return a piece of Claude's record of a conversation, or of the list of its files."""
        records = self._sessions.records(self._client.token, self._folder)
        read = (
            session_manager.list_records if request.do == "records" else session_manager.read_record
        )
        return await asyncio.to_thread(read, records, request.name, request.offset)

    async def _add_piece(self, piece: InputMessage) -> bool:
        """Add a piece to its upload; return whether the upload is complete, and was executed."""
        if self._upload is None or self._upload.id != piece.id:
            self._discard_upload()
            self._upload = await self._begin_upload(piece)
        upload = self._upload
        if not upload.add(piece):
            return False
        match upload:
            case StartUpload() as upload:
                await self._start(upload.start())
            case MessageUpload() | RecordUpload() as upload:
                await asyncio.to_thread(upload.finish)
        self._discard_upload()
        return True

    async def _begin_upload(self, piece: InputMessage) -> Upload:
        """Begin an upload, if its announced size fits into the token's quota."""
        token, sessions = self._client.token, self._sessions
        limit = token.limits.message_bytes
        upload: Upload
        if piece.do == "start":
            upload = StartUpload(piece, limit)
        elif piece.do == "keep":
            records = sessions.records(token, self._folder)
            upload = RecordUpload(piece, limit, records, sessions.store.path)
        else:
            upload = MessageUpload(piece, limit, self._folder)
        try:
            quota = sessions.quota(token)
            if not quota.hold(upload, upload.in_memory):
                raise Refused(quota.no_memory, again=True)
            if not isinstance(upload, RecordUpload):
                await sessions.reserve_disk(token, piece.size)
            elif not quota.keep(piece.name, piece.size):
                raise Refused(quota.no_room)
        except BaseException:
            self._close_upload(upload)
            raise
        return upload

    async def _start(self, start: StartParameters) -> None:
        sessions, folder = self._sessions, self._folder
        loop = asyncio.get_running_loop()

        def schedule_release() -> None:
            loop.call_later(_FIRST_FOLLOWER_TIMEOUT, sessions.leases.release, folder, STARTER)

        async with self._starting:
            work = partial(sessions.start, self._client.token, folder, start)
            await finish_in_thread(work, schedule_release)

    def _discard_upload(self) -> None:
        if self._upload is not None:
            self._close_upload(self._upload)
            self._upload = None

    def _close_upload(self, upload: Upload) -> None:
        upload.close()
        self._sessions.quota(self._client.token).drop(upload)
