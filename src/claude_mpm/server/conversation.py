"""The guide's client: text comes in, lines of Claude's answer go out."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from claude_mpm.errors import MPMError, SessionEnded
from claude_mpm.journal.inbox import Inbox
from claude_mpm.server.client import Client, finish_in_thread, first_of
from claude_mpm.server.journal_stream import pieces
from claude_mpm.server.message_socket import Refused
from claude_mpm.validation import check_prompt
from claude_mpm.wire import WIRES
from claude_mpm.wire.framing import LineFramer
from claude_mpm.wire.remote import Error, Init, Input, Output, Terminate
from claude_mpm.wire.text_lines import LineAssembler, reported_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.orchestration.orchestrator import MPMOrchestrator
    from claude_mpm.server.session_manager import Hosting

    MakeOrchestrator = Callable[..., MPMOrchestrator]


class TextConversation:
    """Serves one connection of a client that knows text alone.

    The session is started as on this machine, and let go of at once: from then on, it is followed
    as every other one is.

    Args:
        client: the connection.
        hosting: the sessions of the server.
        make: makes an orchestrator from the session's name and from settings.
        init: the client's first message.
        starting: held while a session of this token is started.
    """

    def __init__(
        self,
        client: Client,
        hosting: Hosting,
        make: MakeOrchestrator,
        init: Init,
        starting: asyncio.Lock,
    ) -> None:
        self._client = client
        self._hosting = hosting
        self._make = make
        self._init = init
        self._starting = starting
        self._over = False
        self._folder: SessionFolder = hosting.folder(client.token, str(uuid.uuid4()))

    async def run(self) -> None:
        """Start a session, and work until the client or the session ends."""
        try:
            async with self._starting:
                await finish_in_thread(self._start, self._let_go_if_over)
            await first_of(self._speak(), self._listen())
        finally:
            self._over = True
            self._let_go_if_over()

    def _let_go_if_over(self) -> None:
        if self._over:
            self._hosting.leases.release(self._folder, self)

    def _start(self) -> None:
        self._hosting.check_room(self._client.token)
        claude = self._make(self._folder.path.name, **self._settings())
        claude.start_or_raise()
        self._hosting.leases.hold(self._folder, self)
        claude.detach()

    def _settings(self) -> dict[str, Any]:
        """Return the settings that the client has chosen; the others are the server's."""
        settings: dict[str, Any] = {"model": self._init.model or None}
        if self._init.framework == "":
            settings["use_framework"] = False
        elif self._init.framework is not None:
            self._folder.create()
            given = self._folder.path / "given_framework.md"
            self._folder.write(given, self._init.framework.encode())
            settings["framework"] = str(given)
        return settings

    # --- from Claude ------------------------------------------------------------------------

    async def _speak(self) -> None:
        framer, assembler = LineFramer(), LineAssembler()
        wire = WIRES[self._folder.read_meta().wire]
        async for piece in pieces(self._folder, 0):
            for line in framer.feed(piece):
                for event in wire.decode(line):
                    for text in assembler.feed(event):
                        await self._client.peer.send(Output(text=text))
                    if (error := reported_error(event)) is not None:
                        await self._client.peer.send(Error(error=error))
        raise Refused(self._folder.ending() or "Claude ended without a word")

    # --- to Claude --------------------------------------------------------------------------

    async def _listen(self) -> None:
        while not isinstance(message := await self._client.receive(), Terminate):
            if not isinstance(message, Input) or message.do != "prompt":
                raise Refused("a conversation has begun; send prompts")
            try:
                await self._hosting.make_room(self._client.token, len(message.text.encode()))
                await asyncio.to_thread(self._put, message.text)
            except (Refused, MPMError) as error:
                await self._client.peer.send(Error(error=str(error)))
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        with closing(Inbox(self._folder)) as inbox, suppress(SessionEnded):
            inbox.end()

    def _put(self, text: str) -> None:
        check_prompt(text)
        limit = self._client.token.limits.message_bytes
        if len(text.encode()) > limit:
            raise Refused(f"a prompt is longer than {limit} bytes")
        wire = WIRES[self._folder.read_meta().wire]
        with closing(Inbox(self._folder)) as inbox:
            inbox.announce(inbox.put(wire.prompt(text, str(uuid.uuid4()))))
