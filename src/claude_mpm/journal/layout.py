"""The session folder: which file is what, who writes it, and with which rights.

It has three parts. What this machine obeys is directly in it, and no place sees that. `given` has
what a place may read and not write; `exchange` what it writes, of which nothing is believed.
"""

from __future__ import annotations

import os
import re
import signal
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.errors import StorageError, UsageError
from claude_mpm.folders import check_private, make_private
from claude_mpm.journal.orphans import belongs, exists, remove_socket, remove_temporary
from claude_mpm.journal.part import ExchangePart, GivenPart, Part
from claude_mpm.journal.storage import storage_errors, write_whole
from claude_mpm.printable import exact_line
from claude_mpm.redaction import Fingerprint  # noqa: TC001 -- msgspec reads it
from claude_mpm.validation import NOT_JSON, telling
from claude_mpm.wire import WIRES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from claude_mpm.journal.exchange import ExchangeFile

_NUMBER = re.compile(rb"-?[0-9]{1,10}")
_KILLED = 128 + signal.SIGKILL
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NUMBERS = 64  # bytes that are read of a file with numbers
# What a shell writes in front of the reason why it cannot run a command: its script, and the line.
_OF_THE_SCRIPT = re.compile(r"^\S*host\.sh: (?:line )?\d+: (?:exec: )?", re.MULTILINE)
_SAYING_THE_END = 10.0  # seconds between a host's last word and its files' removal


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """One start of Claude in a session.

    Args:
        at: seconds since the epoch.
        offset: how long the journal was, in bytes.
        errors, host_errors: how long the files of standard error were, Claude's and the host's.
        resumed: whether it took up a conversation that was there before.
        framework_sha256: hash of the instructions and agents that Claude was given.
        framework_source: where they came from.
        agents_source: the folder of the agents that were added; empty where there was none.
        claude_version: of Claude Code, as it was known then or told soon after; empty where it
            was not.
        claude_limits: the promises that this build does not keep, in one line.
    """

    at: float
    offset: int
    errors: int = 0
    host_errors: int = 0
    resumed: bool = False
    framework_sha256: str = ""
    framework_source: str = ""
    agents_source: str = ""
    claude_version: str = ""
    claude_limits: str = ""


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


class Container(msgspec.Struct, frozen=True):
    """The container that was made for a session.

    Args:
        id: as the engine printed it when it made the container.
        engine: the engine's command.
        gone: whether the engine has said that it is.
    """

    id: str
    engine: str
    gone: bool = False


class SessionFolder:
    """Names the parts of one session's folder and makes them, readable by their owner alone.

    Args:
        path: the folder; it need not exist yet.
    """

    # What this machine obeys.
    meta_file = Part("meta.json")
    metadata = Part("metadata.json")
    decisions = Part("decisions.jsonl")
    answers = Part("answers.jsonl")  # to Claude's questions
    parked = Part("parked.json")  # a prompt that waits for the rate limit
    owner = Part("owner")  # who may start Claude, or did so last
    hosted = Part("hosted")  # there was a host, and where it makes its temporary folder
    container_file = Part("container.json")  # what was made for it
    link_file = Part("link.json")  # what stands between this folder and its place
    announced = Part("announced")  # what a link is to deliver, and what it has
    delivered = Part("delivered")
    terminal = Part("terminal.json")  # what a terminal's host is to run, until it is read
    screen = Part("screen")  # where screens find that host
    transcripts = Part("transcripts.json")  # how far it copied Claude's own record
    # What a place may read.
    inbox = GivenPart("inbox")
    framework = GivenPart("framework.md")
    agents = GivenPart("agents.json")
    host_script = GivenPart("host.sh")  # in a container; elsewhere it is where we are installed
    expected_place = GivenPart("expected")
    # What a place writes.
    journal = ExchangePart("out.jsonl")
    errors = ExchangePart("err.log")
    host_errors = ExchangePart("host.log")
    feed = ExchangePart("feed")
    lease = ExchangePart("lease")
    stdin = ExchangePart("stdin")
    alive = ExchangePart("alive")  # a FIFO that ends for its readers when the host does
    pid_file = ExchangePart("pid")
    exit_file = ExchangePart("exit")
    closed = ExchangePart("closed")  # the host has ended the input: nobody followed
    temporary = ExchangePart("temporary")  # the folder of Claude's temporary files, in the place
    place = ExchangePart("place")  # where the host found itself
    environ = ExchangePart("environ")  # variables for Claude, until the host has read them
    claude = ExchangePart("claude")  # where a Claude in a container keeps its conversation

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def is_flat(self) -> bool:
        """Whether an earlier release made it, which knew no parts: all is directly in it."""
        here, parted = (os.path.lexists(self.path / name) for name in ("out.jsonl", "exchange"))
        return here and not parted

    @cached_property
    def given(self) -> Path:
        """What a place may read, and not write."""
        return self.path if self.is_flat else self.path / "given"

    @cached_property
    def exchange(self) -> Path:
        """What a place writes."""
        return self.path if self.is_flat else self.path / "exchange"

    def check(self) -> None:
        """Make sure that what the folder says is our own word, before something is done by it.

        Raises:
            StorageError: others may have written it.
        """
        if self.path.is_symlink():
            raise StorageError(f"{self.path} is a link, and no session; remove it")
        check_private(self.path)
        # A container of an earlier release could write all of the folder but this.
        if self.is_flat and (self.path / "claude").is_dir():
            name = self.path.name
            raise StorageError(
                f"session {name} ran in a container that could write its record, so nothing is"
                " done by it; it can be read, and what runs of it is ended with:"
                f" docker rm --force $(docker ps -q --filter label=claude-mpm.session={name})"
            )

    def damage(self) -> list[str]:
        """Say of each file of the exchange that is not what it must be what it is."""
        files = (
            self.journal, self.errors, self.host_errors, self.pid_file, self.exit_file,
            self.closed, self.temporary, self.place, self.environ,
        )  # fmt: skip
        fifos = (self.feed, self.lease, self.stdin, self.alive)
        found = [file.wrong() for file in files] + [fifo.wrong(fifo=True) for fifo in fifos]
        return [each for each in found if each is not None]

    def create(self) -> None:
        """Make the folder with an empty inbox and journal; keep what is there.

        Raises:
            StorageError: it cannot be written.
        """
        with storage_errors(self.path):
            make_private(self.path)
            for folder in (self.given, self.exchange, self.inbox):
                make_private(folder)
        for file in (self.journal, self.errors, self.host_errors):
            os.close(file.open_to_append())

    def prepare_host(self) -> None:
        """Make the FIFOs anew and forget how an earlier host ended."""
        with storage_errors(self.path):
            self.remove_host()
            private = (self.link_file, self.announced, self.delivered, self.container_file)
            for ours in private:
                ours.unlink(missing_ok=True)
            for fifo in (self.feed, self.lease):
                fifo.make_fifo()
            for note in (self.place, self.exit_file):  # at every moment something tells of an end
                note.remove()
            self.hosted.touch(mode=0o600)

    def remove_host(self) -> None:
        """Remove what only a living host needs."""
        remove_socket(self.screen)
        for ours in (self.expected_place, self.terminal, self.screen):
            ours.unlink(missing_ok=True)
        fifos = (self.feed, self.lease, self.stdin, self.alive)
        for file in (*fifos, self.pid_file, self.closed, self.environ, self.temporary):
            file.remove()

    def note_killed(self) -> None:
        """Leave the word of a host that was killed before it could."""
        if self.exit_status() is None:
            self.exit_file.write(f"{_KILLED}\n".encode())

    def remove_temporary(self) -> bool:
        """Remove Claude's temporary files of a host that was killed; tell if there were some.

        A container has them inside, and they went with it.
        """
        if self.container_file.exists():
            self.temporary.remove()
            return False
        try:
            base = self.hosted.read_text("utf-8").strip()
        except FileNotFoundError:
            base = ""
        return remove_temporary(self.temporary, base)

    def note_base(self, environ: Mapping[str, str]) -> None:
        """Note where a host with these variables makes its temporary folder."""
        base = environ.get("CLAUDE_CODE_TMPDIR") or environ.get("TMPDIR") or "/tmp"
        self.write(self.hosted, f"{base}\n".encode())

    def note_failed_start(self, reason: str) -> None:
        """Keep why there was never a host."""
        self.host_errors.append(f"{reason}\n".encode())
        self.remove_host()
        self.exit_file.write(b"126\n")

    def expect_place(self, expected: Mapping[str, str]) -> None:
        """Note what the host's statement of where it runs must say."""
        lines = "".join(f"{key}={value}\n" for key, value in expected.items())
        self.write(self.expected_place, lines.encode())

    def read_place(self) -> dict[str, str]:
        """Return where the host found itself; empty where it has not said so."""
        try:
            lines = self.place.read().decode("utf-8", "replace").splitlines()
        except (FileNotFoundError, StorageError):
            return {}
        return {key: value for key, _, value in (line.partition("=") for line in lines)}

    def write(self, file: Path, data: bytes) -> None:
        """Write one of our own files whole, or leave it as it was."""
        with storage_errors(file):
            write_whole(file, data)

    def append(self, file: Path, line: str) -> None:
        """Add a line to one of our own files."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with storage_errors(file):
            descriptor = os.open(file, flags, 0o600)
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
        """Keep the session's record.

        Raises:
            UsageError: something in it is no text, as a path can be.
        """
        try:
            data = msgspec.json.encode(meta)
        except UnicodeEncodeError as error:
            raise UsageError(
                f"{exact_line(error.object[:200])} is not UTF-8, and a session's record takes"
                " nothing else;"
                " rename it"
            ) from error
        self.write(self.meta_file, msgspec.json.format(data) + b"\n")

    def note_container(self, container: Container) -> None:
        """Keep which container is the session's."""
        self.write(self.container_file, msgspec.json.encode(container) + b"\n")

    def read_container(self) -> Container | None:
        """Return the container that was made for the session's last start; None for none."""
        try:
            return msgspec.json.decode(self.container_file.read_bytes(), type=Container)
        except (FileNotFoundError, *NOT_JSON):
            return None

    def exit_status(self) -> int | None:
        """Return how Claude ended, as the host wrote it; None while it has not, or not so.

        A host removes its `feed` first: where there is one at work, somebody else has written it.
        """
        status = _numbers(self.exit_file)
        is_one = len(status) == 1 and abs(status[0]) < 256
        return status[0] if is_one and not self.has_host() else None

    def pids(self) -> tuple[int, int] | None:
        """Return the process ids of the host and of Claude; None before the start."""
        pids = _numbers(self.pid_file)
        # To signal -1 is to signal everybody.
        return (pids[0], pids[1]) if len(pids) == 2 and min(pids) >= 0 else None

    def write_pids(self, host: int, claude: int) -> None:
        """Keep the process ids of what stands for the host, and of Claude."""
        self.pid_file.write(f"{host} {claude}\n".encode())

    def has_host(self) -> bool:
        """Tell whether a host reads `feed`, which it does from its start to its death."""
        try:
            os.close(self.feed.open_fifo(os.O_WRONLY))
        except (OSError, StorageError):  # there is none, or what is there takes no message
            return False
        return True

    def has_ended(self) -> bool:
        """Tell whether nothing more is written: it was said how Claude ended, or nobody is left.

        A host removes its `feed` before it says how Claude ended; one that was killed leaves it.
        Without a host, it is the controller that says so, and may be killed.
        """
        pids = self.pids()
        if pids is not None and self.host_is_dead():  # though its helpers may hold the feed
            return self.container_file.exists() or not belongs(pids[1], self.path)
        if self.has_host():
            return False
        if self.link_file.exists():  # without its link, nothing is known of what goes on there
            return self.exit_file.exists()
        if self.exit_file.exists() or self.feed.exists():
            return True
        return not exists(pids[0]) if pids is not None else self._is_deserted()

    def _is_deserted(self) -> bool:
        """Tell whether a host's files are gone, which leaves but its exit status, and not that.

        They go a moment before the status is there; for longer only where the place removed them.
        """
        if not self.hosted.exists():
            return False
        try:
            age = time.time() - os.lstat(self.exchange).st_mtime
        except FileNotFoundError:
            return True
        return not 0 <= age < _SAYING_THE_END

    def host_is_dead(self) -> bool:
        """Tell whether a host began and is gone without a word, as one that was killed is.

        It holds `alive` open from its start to its end, and removes it before it says how that was.
        """
        if self.pids() is None:
            return False
        try:
            alive = self.alive.open_fifo(os.O_RDONLY)
        except (FileNotFoundError, StorageError):
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
        journal = self.journal.open(os.O_RDWR | os.O_APPEND)
        try:
            size = os.fstat(journal).st_size
            torn = size > 0 and os.pread(journal, 1, size - 1) != b"\n"
            if torn:
                with storage_errors(self.journal):
                    os.write(journal, b"\n")
            return torn
        finally:
            os.close(journal)

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
        """Return the end of what Claude, or else the host, wrote to standard error since the start.

        What earlier starts of the session wrote there is no reason for what became of this one.
        """
        start = self._last_start()
        said = _tail(self.errors, since=start.errors)
        said = said or _tail(self.host_errors, since=start.host_errors)
        return _OF_THE_SCRIPT.sub("", said)

    def _last_start(self) -> Start:
        try:
            starts = self.read_meta().starts
        except StorageError:
            starts = []
        return starts[-1] if starts else Start(at=0.0, offset=0)

    def printed(self, since: int) -> str:
        """Return the end of what Claude wrote to the journal that is no message of it.

        Args:
            since: the byte from which on it counts.
        """
        lines = _tail(self.journal, since=since).splitlines()
        return "\n".join(line for line in lines if not line.startswith("{"))


def _tail(file: ExchangeFile, size: int = 2000, since: int = 0) -> str:
    try:
        return file.read(size, max(since, file.size() - size)).decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return ""
    except StorageError as error:
        return str(error)


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


def _numbers(file: ExchangeFile) -> list[int]:
    """Return the numbers that a file holds, each fit for a process id; none where it has others."""
    try:
        words = file.read(_NUMBERS).split()
    except (FileNotFoundError, StorageError):
        return []
    numbers = [int(word) for word in words if _NUMBER.fullmatch(word)]
    fit = len(numbers) == len(words) and all(number < 2**31 for number in numbers)
    return numbers if fit else []
