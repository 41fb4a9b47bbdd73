"""The sessions that a server hosts: how they are started, kept running, read and removed.

The caller has authenticated the client. The methods that block run in threads of the executor.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from claude_mpm.engine.shutdown import wait_for_host
from claude_mpm.environments.order import Order
from claude_mpm.environments.record_store import is_conversation
from claude_mpm.environments.variables import wrong_name
from claude_mpm.errors import MPMError, UsageError
from claude_mpm.journal import orphans
from claude_mpm.journal.exchange import ExchangeFile
from claude_mpm.journal.layout import Meta, SessionFolder
from claude_mpm.journal.layout import Start as StartRecord
from claude_mpm.journal.lease import Lease
from claude_mpm.journal.storage import remove_tree
from claude_mpm.server.message_socket import Refused
from claude_mpm.server.quota import ByteQuota
from claude_mpm.server.roots import Roots
from claude_mpm.server.uploads import record_file
from claude_mpm.validation import error_line
from claude_mpm.wire import WIRES
from claude_mpm.wire.remote import CHUNK, FolderState, SessionSummary, StartParameters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from claude_mpm.environments.base import Environment
    from claude_mpm.environments.record_store import RecordStore
    from claude_mpm.server.tokens import Token
    from claude_mpm.sessions.store import Store

# The files of a session that its client may read.
_READABLE = frozenset({"out.jsonl", "err.log", "host.log", "place", "exit"})
_FATAL_SIGNALS = (signal.SIGTERM, signal.SIGKILL)
_SUMMARIES = 2 * CHUNK  # bytes of journals in one list; base64 makes them longer
_SUMMARY = 1 << 12  # bytes of one session beside them, at most
_MOST_SUMMARIES = 30  # of one list
_LONGEST_END = CHUNK // 2  # bytes of one journal
_HOST_TIMEOUT = 60.0  # seconds for a host to report that it runs
STARTER = "starter"  # holds a new session's lease until its first follower does


class Leases:
    """The leases that connections hold; a session without any is subject to its linger rule."""

    def __init__(self) -> None:
        self._held: dict[tuple[Path, object], Lease] = {}

    def hold(self, folder: SessionFolder, owner: object) -> None:
        """Keep a session running for `owner`; does nothing if the session has ended already."""
        if (folder.path, owner) not in self._held and folder.lease.exists():
            self._held[folder.path, owner] = Lease(folder)
        if owner != STARTER:
            self.release(folder, STARTER)

    def release(self, folder: SessionFolder, owner: object) -> None:
        """Release the lease of `owner`; safe to call twice."""
        lease = self._held.pop((folder.path, owner), None)
        if lease is not None:
            lease.release()


class SessionManager:
    """The sessions of a server.

    Args:
        store: where they are stored.
        environment: where they run.
        orchestrator: the name of the orchestrator with this environment, for the session's record.
        claude_path: the `claude` to run where the client asks for none.
        cwd: the working folder where the client asks for none.
        roots: the folders in which sessions of clients may work; empty for `cwd`, or else for the
            current folder.

    Raises:
        UsageError: no folder is named in which clients may work.
    """

    def __init__(
        self,
        store: Store,
        environment: Environment,
        *,
        orchestrator: str,
        claude_path: str | None = None,
        cwd: str | None = None,
        roots: Sequence[str] = (),
    ) -> None:
        self.store = store
        self._quotas: dict[str, ByteQuota] = {}
        local = environment.shares_files
        default = cwd or (str(Path.cwd()) if local else "")
        self._roots = Roots(roots, default, store.path, local=local)
        self.leases = Leases()
        self._environment = environment
        self._orchestrator = orchestrator
        self._claude_path = claude_path
        self._cwd = cwd
        self._hosts: list[subprocess.Popen[Any]] = []

    def folder(self, token: Token, session: str) -> SessionFolder:
        """Return the folder of a token's session, which need not exist.

        The name ends with the token's id, so that no other token can name the folder.

        Raises:
            Refused: `session` is not a valid name.
        """
        try:
            self.store.folder(session)
            return self.store.folder(f"{session}.{token.id}")
        except UsageError as error:
            raise Refused(str(error)) from error

    def quota(self, token: Token) -> ByteQuota:
        """Return the quota of a token's connections and sessions."""
        return self._quotas.setdefault(token.id, ByteQuota(token.limits))

    async def reserve_disk(self, token: Token, size: int) -> None:
        """Count `size` bytes that are about to be stored for a token's sessions.

        Raises:
            Refused: they do not fit into the token's quota.
        """
        quota = self.quota(token)
        if not quota.store(size):
            quota.set_stored(await asyncio.to_thread(self._count_stored, token))
            if not quota.store(size):
                raise Refused(quota.no_disk)

    def _count_stored(self, token: Token) -> int:
        """Return how many bytes a token has stored in messages, frameworks and agents."""
        return sum(
            file.lstat().st_size
            for folder in self._sessions(token)
            for file in (folder.framework, folder.agents, *folder.inbox.glob("*"))
            if file.exists()
        )

    def _sessions(self, token: Token) -> list[SessionFolder]:
        return [f for f in self.store.sessions() if f.path.name.endswith(f".{token.id}")]

    def summaries(self, token: Token, skip: int, end: int) -> list[SessionSummary]:
        """Return some of a token's sessions, the newest first; none behind the last.

        Args:
            skip: how many were returned already.
            end: how many bytes of each journal's end are wanted.
        """
        found: list[SessionSummary] = []
        left = _SUMMARIES
        for folder in self._sessions(token)[skip : skip + _MOST_SUMMARIES]:
            try:
                summary = _summary(folder, token, min(end, _LONGEST_END))
            except (Refused, MPMError, OSError):  # it goes, or what runs in it has damaged it
                name = folder.path.name.removesuffix(f".{token.id}")
                summary = SessionSummary(name=name, state=FolderState(dead=True))
            left -= len(summary.end) + _SUMMARY
            if left < 0 and found:
                break
            found.append(summary)
        return found

    def check_limit(self, token: Token) -> None:
        """Check that a token may start one more session.

        Raises:
            Refused: as many as its limit run already.
        """
        running = sum(folder.has_host() for folder in self._sessions(token))
        if running >= token.limits.sessions:
            raise Refused(
                f"{running} sessions of {token.name!r} run already, of {token.limits.sessions} that"
                " it may have; stop one"
            )

    def start(self, token: Token, folder: SessionFolder, start: StartParameters) -> None:
        """Start a session, and wait until its host runs; does nothing if it was started before.

        Raises:
            Refused: the token's limit is reached, a parameter is invalid, or the host does not
                start.
            MPMError: the environment, Claude or the working folder is not usable.
        """
        if folder.has_host() or folder.exit_file.exists():
            return
        self.check_limit(token)
        check_start(start)
        try:
            self._start(token, folder, start)
        except BaseException:
            with suppress(OSError):
                remove_tree(folder.path)
            raise

    def _start(self, token: Token, folder: SessionFolder, start: StartParameters) -> None:
        environment = self._environment
        claude = environment.find_claude(start.claude or self._claude_path)
        cwd = environment.working_folder(start.cwd or self._cwd)
        if start.cwd:
            cwd = self._roots.resolve(cwd)
        folder.create()
        for file, content in ((folder.framework, start.framework), (folder.agents, start.agents)):
            if content:
                folder.write(file, content)
        folder.write_meta(self._meta(folder, start, cwd))
        folder.prepare_host()
        folder.expect_place({**environment.expected(), **start.expected})
        self.leases.hold(folder, STARTER)
        order = Order(
            folder=folder,
            claude=claude,
            arguments=tuple(_local_path(word, start.folder, folder) for word in start.arguments),
            cwd=cwd,
            environ=self._environ(token, start.environ),
            linger=start.linger,
            linger_limit=start.linger_limit,
        )
        process = environment.start(order)
        if isinstance(process, subprocess.Popen):
            self._hosts.append(process)
        _wait_until_started(folder, process)

    def _environ(self, token: Token, variables: Mapping[str, str]) -> dict[str, str]:
        """Return the environment variables for Claude: the server's, and those of the client.

        Claudes with the same settings folder can resume each other's conversations, so every token
        has a folder of its own.
        """
        environ = {**self._environment.environ(None), **variables}
        if token.sha256:
            own = self.store.path / "clients" / token.id / "claude"
            environ["CLAUDE_CONFIG_DIR"] = token.claude_config or str(own)
        return environ

    def _meta(self, folder: SessionFolder, start: StartParameters, cwd: str) -> Meta:
        now = time.time()
        return Meta(
            session_id=folder.path.name,
            claude_session_id=start.conversation,
            orchestrator=self._orchestrator,
            environment=self._environment.name,
            wire=start.wire,
            cwd=cwd,
            created_at=now,
            starts=[StartRecord(at=now, offset=0)],
        )

    def records(self, token: Token, folder: SessionFolder) -> RecordStore:
        """Return where the conversations of a token's sessions are recorded.

        Args:
            folder: of a session, which need not exist.

        Raises:
            Refused: they are nowhere once a session has ended.
        """
        if not self._environment.keeps_files:
            raise Refused("this server keeps no conversation whose session has ended")
        return self._environment.records(folder, self._environ(token, {}))

    def restart_link(self, folder: SessionFolder) -> None:
        """Start the link process between a session's folder and its environment again, if it died.

        Raises:
            LaunchError: the environment does not answer.
        """
        self._environment.rejoin(folder, _HOST_TIMEOUT)

    def signal(self, folder: SessionFolder, signum: int) -> None:
        """Send a signal to a session's host; SIGKILL to Claude, since the host reports its end.

        Raises:
            Refused: there is no such signal.
            LaunchError: the environment could not deliver it.
        """
        if signum not in {*signal.Signals}:
            raise Refused(f"there is no signal {signum}")
        pids = folder.pids()
        if pids and folder.has_host() and not folder.host_is_dead():
            pid = pids[1 if signum == signal.SIGKILL else 0]
            self._environment.signal_in(folder, pid, signum)
        elif signum in _FATAL_SIGNALS and self._environment.shares_files:
            orphans.end(folder.path)  # nothing else does, once the host was killed

    def reap(self) -> None:
        """Reap hosts that have ended."""
        self._hosts = [process for process in self._hosts if process.poll() is None]


def check_start(start: StartParameters) -> None:
    """Check the parameters of a start that a client has sent.

    Raises:
        Refused: a text cannot be passed to a process, or the wire is unknown.
    """
    names = (*start.environ, *start.expected)
    values = (*start.environ.values(), *start.expected.values())
    texts = (start.claude, start.cwd, start.folder, start.conversation, *start.arguments)
    if any("\0" in text for text in (*names, *values, *texts)):
        raise Refused("a session cannot be started with a NUL character")
    if (wrong := wrong_name(names)) is not None:
        raise Refused(f"{wrong[:40]!r} is no name of a variable: use letters, digits, _")
    if any("\n" in value for value in start.expected.values()):
        raise Refused("what a place is expected to say is one line")
    if start.wire not in WIRES:
        raise Refused(f"there is no wire {start.wire[:40]!r}; there are {', '.join(WIRES)}")


def read_state(folder: SessionFolder, *, marked: bool = False) -> FolderState:
    """Return the state of a session, from its folder.

    Args:
        marked: whether who asks was noted as one that reads the session of another machine.

    Raises:
        Refused: there is no such session.
    """
    if not folder.meta_file.exists():
        raise Refused("there is no such session here")
    status, dead = folder.how_it_ended()
    host, claude = folder.pids() or (0, 0)
    return FolderState(
        host=host,
        claude=claude,
        exit=status,
        closed=folder.closed.exists(),
        dead=dead,
        size=folder.journal.size(),
        place=folder.stated_place(),
        marked=marked,
    )


def _summary(folder: SessionFolder, token: Token, end: int) -> SessionSummary:
    state = read_state(folder)
    file = ExchangeFile(folder.exchange, folder.journal.name)
    started = folder.read_meta().last_start.at
    return SessionSummary(
        name=folder.path.name.removesuffix(f".{token.id}"),
        state=state,
        age=max(0.0, time.time() - started),
        end=file.read(end, max(0, state.size - end)) if end and state.size else b"",
    )


def read_piece(folder: SessionFolder, name: str, offset: int) -> bytes:
    """Return a piece of one of a session's files; empty at its end, or if it does not exist.

    Raises:
        Refused: the file is not one that a client may read.
    """
    if name not in _READABLE:
        raise Refused(f"{name[:40]!r} is no file that can be fetched")
    try:
        return ExchangeFile(folder.exchange, name).read(CHUNK, offset)
    except FileNotFoundError:
        return b""


def list_records(records: RecordStore, conversation: str, offset: int) -> bytes:
    """Return a piece of the list of a conversation's record: a size and a path in each line.

    What is no name of a conversation has none: it could be a pattern of all files there are.
    """
    if not is_conversation(conversation):
        return b""
    lines = [f"{file.size} {file.project}/{file.name}\n" for file in records.files(conversation)]
    return "".join(lines).encode()[offset : offset + CHUNK]


def read_record(records: RecordStore, path: str, offset: int) -> bytes:
    """Return a piece of one file of a record; empty at its end.

    Raises:
        Refused: it is no file of a record.
    """
    return records.read(record_file(path), offset, CHUNK)


def remove(folder: SessionFolder) -> None:
    """Remove the folder of a session that has ended.

    Raises:
        Refused: it still runs.
    """
    if folder.host_is_dead() and folder.has_ended():
        orphans.end(folder.path)  # helpers of the host, which nothing else ends
    elif folder.has_host():
        raise Refused("the session runs; end it first")
    folder.remove_temporary()
    # Moved away first, so that nothing is added to it, such as a message that is being delivered.
    state = folder.path.parents[1]
    trash = mkdtemp(dir=state, prefix=".gone-")
    with suppress(OSError):
        folder.path.rename(Path(trash, folder.path.name))
    with suppress(OSError):
        remove_tree(trash)


def _local_path(word: str, client_folder: str, folder: SessionFolder) -> str:
    """Return an argument, the path of a session's file on the client replaced by that here."""
    if not word.startswith(f"{client_folder}/"):
        return word
    files = {file.name: file for file in (folder.framework, folder.agents)}
    return str(files.get(word.rpartition("/")[2], word))


def _wait_until_started(folder: SessionFolder, process: Any) -> None:
    wait_for_host(folder, process, _HOST_TIMEOUT)
    if folder.pids() is None and not folder.exit_file.exists():
        raise Refused(f"the host ended at once: {error_line(folder.stderr_tail())}")
