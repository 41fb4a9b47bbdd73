"""The protocol of the guide's client: prompts in, lines of Claude's answers out."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from claude_mpm.capabilities.facts import by_version
from claude_mpm.errors import MPMError, SessionEnded
from claude_mpm.journal.inbox import Inbox
from claude_mpm.server.client import Client, finish_in_thread, first_of
from claude_mpm.server.journal_stream import read_chunks
from claude_mpm.server.message_socket import Refused
from claude_mpm.validation import check_prompt
from claude_mpm.wire import WIRES
from claude_mpm.wire.framing import LineFramer
from claude_mpm.wire.remote import (
    ErrorMessage,
    InitMessage,
    InputMessage,
    OutputMessage,
    TerminateMessage,
)
from claude_mpm.wire.text_lines import LineAssembler, reported_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.orchestration.orchestrator import MPMOrchestrator
    from claude_mpm.server.session_manager import SessionManager

    MakeOrchestrator = Callable[..., MPMOrchestrator]


class TextProtocol:
    """Serves one connection of a client that sends and receives text alone.

    The session is started by an orchestrator, which is detached at once: from then on, the session
    is followed like every other one.

    Args:
        client: the connection.
        sessions: the sessions of the server.
        make_orchestrator: called with the session's name and with settings.
        init: the client's first message.
        starting: held while a session of this token is started.
    """

    def __init__(
        self,
        client: Client,
        sessions: SessionManager,
        make_orchestrator: MakeOrchestrator,
        init: InitMessage,
        starting: asyncio.Lock,
    ) -> None:
        self._client = client
        self._sessions = sessions
        self._make_orchestrator = make_orchestrator
        self._init = init
        self._starting = starting
        self._closed = False
        self._folder: SessionFolder = sessions.folder(client.token, str(uuid.uuid4()))

    async def run(self) -> None:
        """Start a session, and serve the client until it or the session ends."""
        try:
            async with self._starting:
                # A start that the client does not wait for takes its lease after `finally`.
                await finish_in_thread(self._start, self._release_if_closed)
            await first_of(self._send_answers(), self._receive_prompts())
        finally:
            self._closed = True
            self._release_if_closed()

    def _release_if_closed(self) -> None:
        if self._closed:
            self._sessions.leases.release(self._folder, self)

    def _start(self) -> None:
        """Start the session; called in a thread of the executor."""
        self._sessions.check_limit(self._client.token)
        claude = self._make_orchestrator(self._folder.path.name, **self._settings())
        claude.start_or_raise()
        self._sessions.leases.hold(self._folder, self)
        claude.detach()

    def _settings(self) -> dict[str, Any]:
        """Return the settings that the client chose; the others are the server's."""
        settings: dict[str, Any] = {"model": self._init.model or None}
        if self._init.framework == "":
            settings["use_framework"] = False
        elif self._init.framework is not None:
            self._folder.create()
            framework = self._folder.path / "given_framework.md"
            self._folder.write(framework, self._init.framework.encode())
            settings["framework"] = str(framework)
        return settings

    # --- from Claude ------------------------------------------------------------------------

    async def _send_answers(self) -> None:
        framer, assembler = LineFramer(), LineAssembler()
        wire = WIRES[self._folder.read_meta().wire]
        async for chunk in read_chunks(self._folder, 0):
            for line in framer.feed(chunk):
                for event in wire.decode(line):
                    for text in assembler.feed(event):
                        await self._client.socket.send(OutputMessage(text=text))
                    if (error := reported_error(event)) is not None:
                        await self._client.socket.send(ErrorMessage(error=error))
        raise Refused(self._folder.ending() or "Claude ended without a word")

    # --- to Claude --------------------------------------------------------------------------

    async def _receive_prompts(self) -> None:
        while not isinstance(message := await self._client.receive(), TerminateMessage):
            if not isinstance(message, InputMessage) or message.do != "prompt":
                raise Refused("a conversation has begun; send prompts")
            try:
                size = len(message.text.encode())
                await self._sessions.reserve_disk(self._client.token, size)
                await asyncio.to_thread(self._send_prompt, message.text)
            except (Refused, MPMError) as error:
                await self._client.socket.send(ErrorMessage(error=str(error)))
        await asyncio.to_thread(self._end_input)

    def _end_input(self) -> None:
        with closing(Inbox(self._folder)) as inbox, suppress(SessionEnded):
            inbox.end()

    def _send_prompt(self, text: str) -> None:
        check_prompt(text)
        limit = self._client.token.limits.message_bytes
        if len(text.encode()) > limit:
            raise Refused(f"a prompt is longer than {limit} bytes")
        meta = self._folder.read_meta()
        version = meta.starts[-1].claude_version if meta.starts else ""
        typed = not by_version(version).can("verbatim")
        prompt = WIRES[meta.wire].prompt(text, str(uuid.uuid4()), command=typed)
        with closing(Inbox(self._folder)) as inbox:
            inbox.announce(inbox.put(prompt))
