"""What a server does in the folders of its sessions; for whom is decided before."""

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
from claude_mpm.environments.variables import wrong_name
from claude_mpm.errors import UsageError
from claude_mpm.journal import orphans
from claude_mpm.journal.exchange import ExchangeFile
from claude_mpm.journal.layout import Meta, SessionFolder
from claude_mpm.journal.layout import Start as StartRecord
from claude_mpm.journal.storage import remove_tree
from claude_mpm.server.leases import STARTER, Leases
from claude_mpm.server.message_socket import Refused
from claude_mpm.server.quota import Quota
from claude_mpm.server.roots import Roots
from claude_mpm.validation import telling
from claude_mpm.wire import WIRES
from claude_mpm.wire.remote import CHUNK, Start, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from claude_mpm.environments.base import Environment
    from claude_mpm.server.tokens import Token
    from claude_mpm.sessions.store import Store

# What a client may read of its session's folder.
_SHOWN = frozenset({"out.jsonl", "err.log", "host.log", "place", "exit"})
_ENDS = (signal.SIGTERM, signal.SIGKILL)
_HOST_PATIENCE = 60.0  # seconds for a host to say that it is there


class Hosting:
    """The sessions of a server.

    Args:
        store: where they are kept.
        environment: the place where they run.
        kind: the name of the orchestrator that has this place, for the record.
        claude_path: the `claude` that is run where the client asks for none.
        cwd: the folder that is worked in where the client asks for none.
        roots: the folders below which clients may have their sessions work; empty for `cwd`, or
            else the current folder.

    Raises:
        UsageError: nobody has named a folder that clients may work in.
    """

    def __init__(
        self,
        store: Store,
        environment: Environment,
        *,
        kind: str,
        claude_path: str | None = None,
        cwd: str | None = None,
        roots: Sequence[str] = (),
    ) -> None:
        self.store = store
        self._quotas: dict[str, Quota] = {}
        here = environment.shares_files
        default = cwd or (str(Path.cwd()) if here else "")
        self._roots = Roots(roots, default, store.path, here=here)
        self.leases = Leases()
        self._environment = environment
        self._kind = kind
        self._claude_path = claude_path
        self._cwd = cwd
        self._hosts: list[subprocess.Popen[Any]] = []

    def folder(self, token: Token, session: str) -> SessionFolder:
        """Return the folder of a token's session, which need not exist.

        The token's id ends the name, so that no other token can name it.

        Raises:
            Refused: this is no name of a session.
        """
        try:
            self.store.folder(session)
            return self.store.folder(f"{session}.{token.id}")
        except UsageError as error:
            raise Refused(str(error)) from error

    def quota(self, token: Token) -> Quota:
        """Return what a token's connections and sessions hold."""
        return self._quotas.setdefault(token.id, Quota(token.limits))

    async def make_room(self, token: Token, size: int) -> None:
        """Count what is about to be stored for a token's sessions, in bytes.

        Raises:
            Refused: it would be too much.
        """
        quota = self.quota(token)
        if not quota.store(size):
            quota.stored = await asyncio.to_thread(self._count_stored, token)
            if not quota.store(size):
                raise Refused(quota.no_disk)

    def _count_stored(self, token: Token) -> int:
        """Return how many bytes a token's sessions were given: messages, frameworks and agents."""
        return sum(
            file.lstat().st_size
            for folder in self._sessions(token)
            for file in (folder.framework, folder.agents, *folder.inbox.glob("*"))
            if file.exists()
        )

    def _sessions(self, token: Token) -> list[SessionFolder]:
        return [f for f in self.store.sessions() if f.path.name.endswith(f".{token.id}")]

    def check_room(self, token: Token) -> None:
        """See to it that a token may have one more session.

        Raises:
            Refused: it has as many as it may.
        """
        running = sum(folder.has_host() for folder in self._sessions(token))
        if running >= token.limits.sessions:
            raise Refused(
                f"{running} sessions of {token.name!r} run already, of {token.limits.sessions} that"
                " it may have; stop one"
            )

    def start(self, token: Token, folder: SessionFolder, start: Start) -> None:
        """Start a session, and wait until its host is there; nothing happens where it is already.

        Raises:
            Refused: there are as many as may be, what it is to be started with cannot be, or the
                host does not begin.
            MPMError: the place, Claude or the folder to work in is not fit for it.
        """
        if folder.has_host() or folder.exit_file.exists():
            return
        self.check_room(token)
        check_start(start)
        try:
            self._start(token, folder, start)
        except BaseException:
            with suppress(OSError):
                remove_tree(folder.path)
            raise

    def _start(self, token: Token, folder: SessionFolder, start: Start) -> None:
        place = self._environment
        claude = place.find_claude(start.claude or self._claude_path)
        cwd = place.working_folder(start.cwd or self._cwd)
        if start.cwd:
            cwd = self._roots.take(cwd)
        folder.create()
        for file, content in ((folder.framework, start.framework), (folder.agents, start.agents)):
            if content:
                folder.write(file, content)
        folder.write_meta(self._record(folder, start, cwd))
        folder.prepare_host()
        folder.expect_place({**place.expected(), **start.expected})
        self.leases.hold(folder, STARTER)
        order = Order(
            folder=folder,
            claude=claude,
            arguments=tuple(_here(word, start.folder, folder) for word in start.arguments),
            cwd=cwd,
            environ=self._environ(token, start.environ),
            linger=start.linger,
            linger_limit=start.linger_limit,
        )
        process = place.start(order)
        if isinstance(process, subprocess.Popen):
            self._hosts.append(process)
        _begin(folder, process)

    def _environ(self, token: Token, given: Mapping[str, str]) -> dict[str, str]:
        """Return Claude's variables: the server's own, and what the client gives.

        Claudes that share a folder of settings see each other, and can resume each other's
        conversations; so those of different tokens share none.
        """
        environ = {**self._environment.environ(None), **given}
        if token.sha256:
            own = self.store.path / "clients" / token.id / "claude"
            environ["CLAUDE_CONFIG_DIR"] = token.claude_config or str(own)
        return environ

    def _record(self, folder: SessionFolder, start: Start, cwd: str) -> Meta:
        now = time.time()
        return Meta(
            session_id=folder.path.name,
            claude_session_id=start.conversation,
            orchestrator=self._kind,
            environment=self._environment.name,
            wire=start.wire,
            cwd=cwd,
            created_at=now,
            starts=[StartRecord(at=now, offset=0)],
        )

    def bring_back(self, folder: SessionFolder) -> None:
        """Bring back what stands between a session's folder and its place, where it has died.

        Raises:
            LaunchError: the place does not answer.
        """
        self._environment.rejoin(folder, _HOST_PATIENCE)

    def signal(self, folder: SessionFolder, signum: int) -> None:
        """Send the host of a session a signal; SIGKILL goes to Claude, whose end the host tells.

        Raises:
            Refused: there is no such signal.
            LaunchError: the place does not take it.
        """
        if signum not in {*signal.Signals}:
            raise Refused(f"there is no signal {signum}")
        pids = folder.pids()
        if pids and folder.has_host() and not folder.host_is_dead():
            pid = pids[1 if signum == signal.SIGKILL else 0]
            self._environment.signal_in(folder, pid, signum)
        elif signum in _ENDS and self._environment.shares_files:
            orphans.end(folder.path)  # nobody else does, once the host was killed

    def reap(self) -> None:
        """Take note of hosts that have ended."""
        self._hosts = [process for process in self._hosts if process.poll() is None]


def check_start(start: Start) -> None:
    """See to it that a session can be started with what a client has sent.

    Raises:
        Refused: it has a text that no process can be given, or names a wire that there is not.
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


def read_state(folder: SessionFolder) -> State:
    """Return what the folder of a session says.

    Raises:
        Refused: there is no such session.
    """
    if not folder.meta_file.exists():
        raise Refused("there is no such session here")
    over = folder.has_ended()  # looked at first: the status is written before
    status = folder.exit_status()
    host, claude = folder.pids() or (0, 0)
    return State(
        host=host,
        claude=claude,
        exit=status,
        closed=folder.closed.exists(),
        dead=over and status is None,
        size=folder.journal.size(),
        place="\n".join(f"{key}={value}" for key, value in folder.read_place().items()),
    )


def read_piece(folder: SessionFolder, name: str, offset: int) -> bytes:
    """Return the next piece of one of a session's files; empty at its end, or for no file.

    Raises:
        Refused: it is none that is shown.
    """
    if name not in _SHOWN:
        raise Refused(f"{name[:40]!r} is no file that can be fetched")
    try:
        return ExchangeFile(folder.exchange, name).read(CHUNK, offset)
    except FileNotFoundError:
        return b""


def remove(folder: SessionFolder) -> None:
    """Remove the folder of a session that has ended.

    Raises:
        Refused: it has not.
    """
    if folder.host_is_dead() and folder.has_ended():
        orphans.end(folder.path)  # helpers of the host, which nobody else ends
    elif folder.has_host():
        raise Refused("the session runs; end it first")
    folder.remove_temporary()
    # Elsewhere, nothing can come into it any more, such as a message that is on its way.
    state = folder.path.parents[1]
    gone = mkdtemp(dir=state, prefix=".gone-")
    with suppress(OSError):
        folder.path.rename(Path(gone, folder.path.name))
    with suppress(OSError):
        remove_tree(gone)


def _here(word: str, there: str, folder: SessionFolder) -> str:
    """Return the path of one of the session's files as it is on this machine."""
    if not word.startswith(f"{there}/"):
        return word
    given = {file.name: file for file in (folder.framework, folder.agents)}
    return str(given.get(word.rpartition("/")[2], word))


def _begin(folder: SessionFolder, process: Any) -> None:
    wait_for_host(folder, process, _HOST_PATIENCE)
    if folder.pids() is None and not folder.exit_file.exists():
        raise Refused(f"the host ended at once: {telling(folder.stderr_tail())}")
