"""A server's side of the remote protocol, from the first line of a connection to its end."""

from __future__ import annotations

import asyncio
import shutil
from functools import cache
from typing import Any

from judging import Target
from samples import JSON_TOKENS
from wires import chunks
from workspace import workspace

from claude_mpm.environments.local import Local
from claude_mpm.errors import ClaudeNotFound, MPMError
from claude_mpm.journal.layout import Meta, SessionFolder
from claude_mpm.server.admission import Authenticator
from claude_mpm.server.client import Client
from claude_mpm.server.message_socket import Disconnected, Refused
from claude_mpm.server.session_manager import SessionManager
from claude_mpm.server.session_protocol import SessionProtocol
from claude_mpm.server.tokens import Token, Tokens
from claude_mpm.sessions.store import Store
from claude_mpm.wire.framing import LineBuffer, LineTooLong
from claude_mpm.wire.remote import (
    ErrorMessage,
    InitMessage,
    MalformedMessage,
    OutputMessage,
    RemoteMessage,
    decode,
    encode,
)

_JOURNAL = b'{"type":"x"}\n' * 300
_INIT = b'{"type":"init","protocol":1,"session":"s"}\n'
_SEEDS = (
    _INIT + b'{"type":"input","do":"put","id":3,"name":"000001","data":"YWI=","size":3}\n'
    b'{"type":"input","do":"put","id":3,"name":"000001","data":"Yw==","offset":2,"size":3}\n',
    _INIT + b'{"type":"input","do":"state","id":1}\n{"type":"input","do":"fetch","id":2,'
    b'"name":"out.jsonl","offset":7}\n{"type":"input","do":"remove","id":9}\n',
    _INIT + b'{"type":"input","do":"signal","id":1,"signal":15}\n{"type":"input","do":"beat"}\n'
    b'{"type":"terminate"}\n',
    b'{"type":"init","protocol":1,"session":"s","follow":10}\n{"type":"input","do":"hold"}\n'
    b'{"type":"input","do":"release"}\n{"type":"input","do":"beat"}\n',
    _INIT + b'{"type":"input","do":"start","id":1,"data":"eyJmb2xkZXIiOiIvZiJ9","size":15}\n',
)


class _NoPlace(Local):
    """Starts and signals nothing."""

    shares_files = False

    def find_claude(self, asked: str | None) -> str:
        raise ClaudeNotFound("there is no claude here")

    def signal(self, pid: int, signum: int) -> None:
        raise AssertionError("there is no process to signal")


class _Socket:
    """A connection whose client has said everything already."""

    def __init__(self, data: bytes) -> None:
        self.lines = LineBuffer(1 << 16)
        self.sending = asyncio.Lock()
        self.said: list[RemoteMessage] = []
        self._chunks = iter(chunks(data))

    async def receive(self) -> RemoteMessage:
        while (line := self.lines.next()) is None:
            piece = next(self._chunks, None)
            if piece is None:
                raise Disconnected("the client has closed the connection")
            self.lines.feed(piece)
        await asyncio.sleep(0)
        return decode(line)

    async def send(self, message: RemoteMessage) -> None:
        assert decode(encode(message)[:-1]) == message, "an answer that cannot be read"
        self.said.append(message)
        await asyncio.sleep(0)


@cache
def _runner() -> asyncio.Runner:
    return asyncio.Runner()


def _prepared() -> tuple[SessionManager, Authenticator, Token]:
    root = workspace() / "server"
    shutil.rmtree(root, ignore_errors=True)
    authenticator = Authenticator(Tokens(root), allow_anonymous=True)
    assert authenticator.anonymous is not None
    sessions = SessionManager(Store(root), _NoPlace(), orchestrator="local")
    folder = sessions.folder(authenticator.anonymous, "s")
    folder.create()
    meta = Meta(session_id=folder.path.name, claude_session_id="", orchestrator="local",
                environment="local", wire="stream-json", cwd="/", created_at=0.0)  # fmt: skip
    folder.write_meta(meta)
    folder.journal.path.write_bytes(_JOURNAL)
    folder.exit_file.write(b"0\n")
    return sessions, authenticator, authenticator.anonymous


async def _serve(sock: _Socket, sessions: SessionManager, authenticator: Authenticator) -> None:
    init = await sock.receive()
    if not isinstance(init, InitMessage):
        return
    token = authenticator.authenticate(init)
    quota = authenticator.quota(token)
    client = Client(sock, token, quota.rate, authenticator)  # type: ignore[arg-type]
    await SessionProtocol(client, sessions, init, quota.starting).run()


def service(data: bytes) -> None:
    sessions, authenticator, token = _prepared()
    sock = _Socket(data)
    try:
        _runner().run(_serve(sock, sessions, authenticator))
    except (Refused, MPMError, MalformedMessage, LineTooLong, Disconnected) as error:
        assert "\n" not in str(error), f"a refusal of several lines: {error}"
    _check(sock.said, sessions.folder(token, "s"))
    outside = {path.name for path in (workspace() / "server").iterdir()}
    assert outside <= {"sessions", "tokens.json"}, f"something was written: {outside}"


def _check(said: list[Any], folder: SessionFolder) -> None:
    journal = b"".join(each.journal for each in said if isinstance(each, OutputMessage))
    assert journal in _JOURNAL, "another journal"
    for each in said:
        if isinstance(each, OutputMessage) and each.ended:
            assert each.offset == len(_JOURNAL), "an end before the end"
        if isinstance(each, ErrorMessage):
            assert "\n" not in each.error
    if folder.inbox.exists():
        drafts = list(folder.path.glob(".part-*"))
        assert not drafts, f"left behind: {drafts}"


TARGETS = (Target("remote: server", service, _SEEDS, (*JSON_TOKENS, _INIT, b'"do":"')),)
