"""The session folder: which file is what, and with which rights."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import threading
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.checks import NOT_JSON, telling
from claude_mpm.errors import StorageError, UsageError
from claude_mpm.folders import make_private
from claude_mpm.journal.leftovers import belongs, exists, remove_socket
from claude_mpm.journal.part import Part
from claude_mpm.redaction import Fingerprint  # noqa: TC001 -- msgspec reads it
from claude_mpm.wire import WIRES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# A container may write into the folder, too: what is written here follows no link of its making.
_HERE = os.O_NOFOLLOW | os.O_CLOEXEC
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """One start of Claude in a session.

    Args:
        at: seconds since the epoch.
        offset: how long the journal was, in bytes.
        resumed: whether it took up a conversation that was there before.
        framework_sha256: hash of the instructions and agents that Claude was given.
        framework_source: where they came from.
        agents_source: the folder of the agents that were added; empty where there was none.
    """

    at: float
    offset: int
    resumed: bool = False
    framework_sha256: str = ""
    framework_source: str = ""
    agents_source: str = ""


class Meta(msgspec.Struct, kw_only=True):
    """What was started, where and with what; it holds no secrets.

    Args:
        session_id: the session's name, and the folder's.
        claude_session_id: the UUID under which Claude Code keeps the conversation.
        wire: how the journal is read: "stream-json", "plain-text".
        options: the orchestrator's options, as a resume needs them.
        place: what its environment was made with, as a resume needs it.
        starts: every start, oldest first.
        secrets: by what the secrets of Claude's environment are recognised, with the key of the
            state folder.
    """

    session_id: str
    claude_session_id: str
    orchestrator: str
    environment: str
    wire: str
    cwd: str
    created_at: float
    options: dict[str, Any] = {}
    place: dict[str, Any] = {}
    starts: list[Start] = []
    secrets: list[Fingerprint] = []


class SessionFolder:
    """Names the parts of one session's folder and makes them, readable by their owner alone.

    Args:
        path: the folder; it need not exist yet.
    """

    meta_file = Part("meta.json")
    inbox = Part("inbox")
    feed = Part("feed")
    lease = Part("lease")
    stdin = Part("stdin")
    alive = Part("alive")  # a FIFO that ends for its readers when the host does
    journal = Part("out.jsonl")
    errors = Part("err.log")
    host_errors = Part("host.log")
    pid_file = Part("pid")
    exit_file = Part("exit")
    closed = Part("closed")  # the host has ended the input: nobody followed
    framework = Part("framework.md")
    agents = Part("agents.json")
    metadata = Part("metadata.json")
    decisions = Part("decisions.jsonl")
    answers = Part("answers.jsonl")  # to Claude's questions
    owner = Part("owner")  # who may start Claude, or did so last
    temporary = Part("temporary")  # the folder of Claude's temporary files, in the place
    place = Part("place")  # where the host found itself
    expected_place = Part("expected")
    environ = Part("environ")  # variables for Claude, until the host has read them
    link_file = Part("link.json")  # what stands between this folder and its place
    announced = Part("announced")  # what a link is to deliver, and what it has
    delivered = Part("delivered")
    terminal = Part("terminal.json")  # what a terminal's host is to run, until it is read
    screen = Part("screen")  # where screens find that host
    transcripts = Part("transcripts.json")  # how far it copied Claude's own record

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        """Make the folder with an empty inbox and journal; keep what is there.

        Raises:
            StorageError: it cannot be written.
        """
        with storage_errors(self.path):
            make_private(self.path)
            self.inbox.mkdir(mode=0o700, exist_ok=True)
            for file in (self.journal, self.errors):
                os.close(os.open(file, os.O_WRONLY | os.O_CREAT | _HERE, 0o600))

    def prepare_host(self) -> None:
        """Make the FIFOs anew and forget how an earlier host ended."""
        with storage_errors(self.path):
            self.remove_host()
            linked = (self.link_file, self.announced, self.delivered)
            for file in (self.exit_file, self.place, *linked):
                file.unlink(missing_ok=True)
            for fifo in (self.feed, self.lease):
                os.mkfifo(fifo, 0o600)

    def remove_host(self) -> None:
        """Remove what only a living host needs."""
        remove_socket(self.screen)
        fifos = (self.feed, self.lease, self.stdin, self.alive)
        files = (self.pid_file, self.closed, self.environ, self.expected_place, self.temporary)
        for file in (*fifos, *files, self.terminal, self.screen):
            file.unlink(missing_ok=True)

    def note_failed_start(self, reason: str) -> None:
        """Keep why there was never a host."""
        self.append(self.host_errors, reason)
        self.remove_host()
        self.write(self.exit_file, b"126\n")

    def expect_place(self, expected: Mapping[str, str]) -> None:
        """Note what the host's statement of where it runs must say."""
        lines = "".join(f"{key}={value}\n" for key, value in expected.items())
        self.write(self.expected_place, lines.encode())

    def read_place(self) -> dict[str, str]:
        """Return where the host found itself; empty where it has not said so."""
        try:
            lines = self.place.read_text("utf-8", "replace").splitlines()
        except FileNotFoundError:
            return {}
        return {key: value for key, _, value in (line.partition("=") for line in lines)}

    def write(self, file: Path, data: bytes) -> None:
        """Write one of the folder's files whole, or leave it as it was."""
        with storage_errors(file):
            write_whole(file, data)

    def append(self, file: Path, line: str) -> None:
        """Add a line to one of the folder's files."""
        with storage_errors(file):
            descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _HERE, 0o600)
            with open(descriptor, "a", encoding="utf-8") as stream:
                stream.write(f"{line}\n")

    def read_meta(self) -> Meta:
        """Return the session's record.

        Raises:
            StorageError: it is missing or damaged.
        """
        with storage_errors(self.meta_file):
            data = self.meta_file.read_bytes()
        try:
            meta = msgspec.json.decode(data, type=Meta)
        except NOT_JSON as error:
            message = f"{self.meta_file}: not a session's record ({error})"
            raise StorageError(message) from error
        if meta.wire not in WIRES:
            raise StorageError(f"{self.meta_file}: there is no wire {meta.wire!r}")
        return meta

    def write_meta(self, meta: Meta) -> None:
        """Keep the session's record."""
        self.write(self.meta_file, msgspec.json.format(msgspec.json.encode(meta)) + b"\n")

    def exit_status(self) -> int | None:
        """Return how Claude ended, as the host wrote it; None while it has not."""
        return _number(self.exit_file)

    def pids(self) -> tuple[int, int] | None:
        """Return the process ids of the host and of Claude; None before the start."""
        try:
            host, claude = map(int, self.pid_file.read_text().split())
        except (FileNotFoundError, ValueError):
            return None
        # To signal -1 is to signal everybody.
        return (host, claude) if max(host, claude) < 2**31 and min(host, claude) >= 0 else None

    def write_pids(self, host: int, claude: int) -> None:
        """Keep the process ids of what stands for the host, and of Claude."""
        self.write(self.pid_file, f"{host} {claude}\n".encode())

    def has_host(self) -> bool:
        """Tell whether a host reads `feed`, which it does from its start to its death."""
        try:
            probe = os.open(self.feed, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        os.close(probe)
        return True

    def has_ended(self) -> bool:
        """Tell whether nothing more is written: it was said how Claude ended, or nobody is left.

        A host removes its `feed` before it says how Claude ended; one that was killed leaves it.
        Without a host, it is the controller that says so, and may be killed.
        """
        pids = self.pids()
        if pids is not None and self.host_is_dead():  # though its helpers may hold the feed
            return not belongs(pids[1], self.path)
        if self.has_host():
            return False
        if self.link_file.exists():  # without its link, nothing is known of what goes on there
            return self.exit_file.exists()
        if self.exit_file.exists() or self.feed.exists():
            return True
        return pids is not None and not exists(pids[0])

    def host_is_dead(self) -> bool:
        """Tell whether a host began and is gone without a word, as one that was killed is.

        It holds `alive` open from its start to its end, and removes it before it says how that was.
        """
        if self.pids() is None:
            return False
        try:
            alive = os.open(self.alive, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return os.read(alive, 1) == b""
        except BlockingIOError:
            return False
        finally:
            os.close(alive)

    def end_torn_line(self) -> bool:
        """End a last line of the journal that its writer did not live to end; tell if it did so.

        It is a line of its own from then on, so that nothing is taken for its rest.
        """
        with storage_errors(self.journal), self.journal.open("r+b") as journal:
            if journal.seek(0, os.SEEK_END) == 0:
                return False
            journal.seek(-1, os.SEEK_END)
            if journal.read(1) == b"\n":
                return False
            journal.write(b"\n")
            return True

    def ending(self, status: int | None = None) -> str | None:
        """Say in one line how Claude ended; None while it has not.

        Args:
            status: the exit status, where the host could not write it.
        """
        known = self.exit_status()
        status = status if known is None else known
        if status is None:
            return None
        said = telling(self.stderr_tail())
        return f"Claude ended with status {status}" + (f": {said}" if said else "")

    def stderr_tail(self) -> str:
        """Return the end of what Claude wrote to standard error, or else the host."""
        return _tail(self.errors) or _tail(self.host_errors)

    def printed(self, since: int) -> str:
        """Return the end of what Claude wrote to the journal that is no message of it.

        Args:
            since: the byte from which on it counts.
        """
        lines = _tail(self.journal, since=since).splitlines()
        return "\n".join(line for line in lines if not line.startswith("{"))


def _tail(file: Path, size: int = 2000, since: int = 0) -> str:
    try:
        with file.open("rb") as stream:
            stream.seek(max(since, file.stat().st_size - size))
            return stream.read().decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return ""


def write_whole(file: Path, data: bytes) -> None:
    """Replace `file` by `data` in one step, readable by its owner alone."""
    # Two threads may write the same file, as two processes may.
    draft = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _HERE, 0o600)
    try:
        with open(descriptor, "wb") as stream:
            give_to_owner(descriptor, file.parent)
            stream.write(data)
        draft.replace(file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def give_to_owner(descriptor: int, folder: Path) -> None:
    """Let a file belong to whom its folder belongs: a controller as root may serve another user."""
    if os.geteuid() == 0 and (owner := folder.stat()).st_uid != 0:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into one clear line."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        where = error.filename or path
        full = error.errno == errno.ENOSPC
        hint = "free some space" if full else "check the folder, or set `state_dir`"
        raise StorageError(f"cannot keep the session in {where}: {reason}; {hint}") from error


def session_path(state_dir: Path, session_id: str) -> Path:
    """Return the folder of a session.

    Raises:
        UsageError: the id has characters that a folder's name must not have.
    """
    if not _SAFE_NAME.fullmatch(session_id):
        raise UsageError(
            f"session id {session_id!r} cannot be a folder's name: use letters, digits, . _ -"
        )
    return state_dir / "sessions" / session_id


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (FileNotFoundError, ValueError):
        return None
