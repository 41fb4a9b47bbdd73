"""A server of sessions, reached over TLS."""

from __future__ import annotations

import os
import re
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.environments.base import Environment
from claude_mpm.environments.far_sessions import MOST, FarSession, Listed
from claude_mpm.environments.linked import LinkedHost, launch_link
from claude_mpm.errors import LaunchError, StorageError, UsageError
from claude_mpm.link.connection import ServerAddress, ServerConnection
from claude_mpm.link.far import FarFailed, FarState, LinkCut
from claude_mpm.link.remote import RemoteFar, RemoteSpec
from claude_mpm.validation import NOT_JSON
from claude_mpm.wire.remote import InputMessage, SessionSummary, StartParameters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from claude_mpm.environments.order import Order
    from claude_mpm.environments.record_store import RecordStore
    from claude_mpm.journal.layout import SessionFolder

# What a client adds to the name of a session of its own.
_OWN_PART = re.compile(r"-[0-9a-f]{8}$")
TOKEN_VARIABLE = "CLAUDE_MPM_REMOTE_TOKEN"


class Remote(Environment):
    """Runs Claude where a `claude-mpm serve` is.

    The token is taken from `token_file`, else from `token`, else from the environment's
    CLAUDE_MPM_REMOTE_TOKEN. It is never written down but in the session's own folder, for whoever
    connects again; a file's is not even there.

    Args:
        address: "host:port" of the server.
        token: who we are; better in a file, or in the environment.
        token_file: a file with the token, which only you can read.
        tls: whether TLS is spoken; False only for a server on this machine.
        ca: a file with the authority that signed the server's certificate; None for the system's.
        client_cert, client_key: files with our own certificate, where the server wants one.
        server_name: the name in the server's certificate, where it is not that of the address.

    Raises:
        UsageError: the address is invalid.
    """

    name = "remote"
    runs_commands = False

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        token_file: str | None = None,
        tls: bool = True,
        ca: str | None = None,
        client_cert: str | None = None,
        client_key: str | None = None,
        server_name: str | None = None,
    ) -> None:
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise UsageError(f"remote: {address!r} is no address; give host:port")
        self._server = ServerAddress(
            address=address,
            token="" if token_file else token or os.environ.get(TOKEN_VARIABLE, ""),
            token_file=_absolute(token_file),
            tls=tls,
            ca=_absolute(ca),
            client_cert=_absolute(client_cert),
            client_key=_absolute(client_key),
            server_name=server_name or "",
        )
        self._folders: list[SessionFolder] = []

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """Refuse: the server runs sessions alone.

        Raises:
            LaunchError: always.
        """
        raise LaunchError(f"remote: {self._server.address} starts sessions, and no {argv[0]}")

    def reach(self) -> None:
        """Make sure that the server answers, and takes our token.

        Raises:
            LaunchError: it does not.
        """
        try:
            ServerConnection(self._server, f"reach-{os.urandom(4).hex()}").close()
        except (LinkCut, FarFailed, StorageError) as error:
            raise LaunchError(f"remote: {error}") from error

    def far_sessions(self, end: int) -> Listed:
        """Return the sessions of our token at the server.

        Raises:
            LaunchError: it does not answer.
        """
        found: list[FarSession] = []
        try:
            connection = ServerConnection(self._server, f"list-{os.urandom(4).hex()}")
            with closing(connection):
                while len(found) < MOST:
                    asked = InputMessage(do="list", offset=len(found), size=end)
                    sessions = connection.ask(asked).sessions
                    if not sessions:
                        return Listed(found)
                    found += map(_far_session, sessions)
                more = connection.ask(InputMessage(do="list", offset=MOST)).sessions or ()
        except (LinkCut, FarFailed, StorageError) as error:
            raise LaunchError(f"remote: {error}") from error
        return Listed(found[:MOST], len(found[MOST:]) + len(more))

    def link_to(self, far: FarSession, reader: str) -> dict[str, Any]:
        """Return the link's file for a session that another machine has started there."""
        start = StartParameters(folder="")
        spec = RemoteSpec(server=self._server, session=far.key, start=start, reader=reader)
        return msgspec.to_builtins(spec)  # type: ignore[no-any-return]

    def records(self, folder: SessionFolder, environ: Mapping[str, str]) -> RecordStore:
        """Return where the server keeps the records of this token's conversations."""
        from claude_mpm.environments.remote_records import RemoteRecords

        return RemoteRecords(self._server)

    def find_claude(self, asked: str | None) -> str:
        """Return the command that was asked for; empty leaves it to the server."""
        return asked or ""

    def start(self, order: Order) -> LinkedHost:
        """Have the server start the session, and keep it in step with its folder here.

        Raises:
            LaunchError: the server cannot be reached, or refuses; with its reason.
        """
        folder = order.folder
        spec = RemoteSpec(
            server=self._server,
            # No other machine's session of the same name has it there.
            session=f"{folder.path.name}-{os.urandom(4).hex()}",
            start=_start(order),
            base=folder.journal.size(),
        )
        folder.environ.write(msgspec.json.encode(dict(order.environ)))
        far = RemoteFar(spec, folder)
        try:
            far.start()
        except (LinkCut, FarFailed) as error:
            raise LaunchError(f"remote: {error}") from error
        finally:
            far.close()
        self._folders.append(folder)
        return launch_link(folder, msgspec.to_builtins(spec))

    def join(self, folder: SessionFolder) -> LinkedHost:
        """Return the link of a session that another controller started."""
        self._folders.append(folder)
        return LinkedHost(folder)

    def signal_in(self, folder: SessionFolder, pid: int, signum: int) -> None:
        """Have the server send a signal to a session.

        Raises:
            LaunchError: it cannot be reached, or refuses.
        """
        self._signal(folder, signum)

    def signal(self, pid: int, signum: int) -> None:
        """Have the server send a signal to the session whose Claude has this process id there.

        Raises:
            LaunchError: it cannot be reached, or refuses.
        """
        for folder in self._folders:
            pids = folder.pids()
            if pids is not None and pid == pids[1]:
                self._signal(folder, signum)

    def _signal(self, folder: SessionFolder, signum: int) -> None:
        try:
            spec = msgspec.json.decode(folder.link_file.read_bytes(), type=RemoteSpec)
        except NOT_JSON as error:
            raise LaunchError(f"{folder.link_file}: not what a link needs ({error})") from error
        far = RemoteFar(spec, folder)
        try:
            far.signal(signum)
        except (LinkCut, FarFailed) as error:
            raise LaunchError(f"remote: {error}") from error
        finally:
            far.close()


def _start(order: Order) -> StartParameters:
    """Return what the server is asked for; what goes by file is added when it is sent."""
    wire, conversation = "stream-json", ""
    with suppress(StorageError):  # there is no record yet if a place is tried without a session
        meta = order.folder.read_meta()
        wire, conversation = meta.wire, meta.claude_session_id
    return StartParameters(
        folder=str(order.folder.path),
        claude=order.claude,
        arguments=order.arguments,
        cwd=order.cwd,
        expected={
            key: value
            for key, _, value in (
                line.partition("=") for line in _lines(order.folder.expected_place)
            )
        },
        linger=order.linger,
        linger_limit=order.linger_limit,
        wire=wire,
        conversation=conversation,
    )


def _far_session(summary: SessionSummary) -> FarSession:
    """Return what the server says of a session, whose name there has a part of its own."""
    state = msgspec.structs.asdict(summary.state)
    return FarSession(
        name=_OWN_PART.sub("", summary.name),
        key=summary.name,
        state=FarState(**state),
        age=min(max(summary.age, 0.0), 1e9),
        end=summary.end,
    )


def _lines(file: Path) -> list[str]:
    return file.read_text("utf-8").splitlines() if file.exists() else []


def _absolute(file: str | None) -> str:
    """Return the path of a file as the link finds it, which works in another folder."""
    return str(Path(file).expanduser().absolute()) if file else ""
