"""The session folder: its files, who writes them, and with which permissions.

It has three parts. The files that this machine trusts are directly in it, where no place sees
them. `given` has the files that a place may read and not write; `exchange` those that it writes,
which are never trusted.
"""

from __future__ import annotations

import os
import re
import signal
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.errors import LaunchError, StorageError, UsageError
from claude_mpm.folders import check_private, make_private
from claude_mpm.journal.exchange import ExchangeFile
from claude_mpm.journal.orphans import (
    belongs,
    exists,
    remove_socket,
    remove_temporary,
    temporary_base,
)
from claude_mpm.journal.storage import storage_errors, write_whole
from claude_mpm.patterns import lazy_pattern
from claude_mpm.printable import exact_line
from claude_mpm.redaction import Fingerprint  # noqa: TC001 -- msgspec reads it
from claude_mpm.validation import NOT_JSON, disk_is_full, error_line
from claude_mpm.wire import WIRES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_NUMBER = lazy_pattern(rb"-?[0-9]{1,10}")
_KILLED_STATUS = 128 + signal.SIGKILL
_SAFE_NAME = lazy_pattern(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NUMBERS = 64  # bytes that are read of a file with numbers
# What a shell prefixes to the reason why it cannot run a command: its script, and the line.
_SCRIPT_PREFIX = lazy_pattern(r"^\S*host\.sh: (?:line )?\d+: (?:exec: )?", re.MULTILINE)
_EXIT_DELAY = 10.0  # seconds that a host may need between removing its files and `exit`


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """One start of Claude in a session.

    Args:
        at: seconds since the epoch.
        offset: the size of the journal then, in bytes.
        errors, host_errors: the sizes of the files of standard error, Claude's and the host's.
        resumed: whether it resumed an earlier conversation.
        framework_sha256: hash of the instructions and agents that Claude was given.
        framework_source: where they came from.
        agents_source: the folder of additional agents; empty if there was none.
        orchestrator: that started it; empty in records of earlier releases.
        claude_version: of Claude Code, as known at the start or soon after; empty if unknown.
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
    orchestrator: str = ""
    claude_version: str = ""
    claude_limits: str = ""


_NO_START = Start(at=0.0, offset=0)


class Meta(msgspec.Struct, kw_only=True):
    """The record of a session: what was started, where and how; it contains no secrets.

    Args:
        session_id: the name of the session and of its folder.
        claude_session_id: the UUID under which Claude Code stores the conversation.
        orchestrator: its registered name.
        environment: the name of the environment's class.
        wire: how the journal is read: "stream-json", "plain-text", "transcript".
        cwd: Claude's working folder.
        created_at: seconds since the epoch.
        options: the orchestrator's options, for a resume.
        place: the environment's settings, for a resume.
        starts: every start, oldest first.
        secrets: fingerprints by which the secrets of Claude's environment are recognized, with the
            key of the state folder.
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

    @property
    def last_start(self) -> Start:
        """The last start; one at the beginning of the journal, with nothing known, before any."""
        return self.starts[-1] if self.starts else _NO_START


class Container(msgspec.Struct, frozen=True):
    """The container that was made for a session.

    Args:
        id: as the engine printed it when it made the container.
        engine: the engine's command.
        gone: whether the engine has reported that it no longer exists.
    """

    id: str
    engine: str
    gone: bool = False


class PrivatePath:
    """A file of the session's folder that only this machine sees, as an attribute: its path.

    The path is made on access and not stored, since there may be thousands of folders at once.

    Args:
        name: of the file.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, folder: SessionFolder, owner: type | None = None) -> Path:
        """Return its path in a folder."""
        return folder.path / self._name


class GivenPath(PrivatePath):
    """A file that the environment may read, and not write."""

    def __get__(self, folder: SessionFolder, owner: type | None = None) -> Path:
        """Return its path in the folder `given`."""
        return folder.given / self._name


class ExchangeEntry:
    """A file that the environment writes, so that nothing in it is trusted.

    Args:
        name: of the file.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, folder: SessionFolder, owner: type | None = None) -> ExchangeFile:
        """Return it; not as a path, since it must not be opened as one."""
        return ExchangeFile(folder.exchange, self._name)


class SessionFolder:
    """The folder of one session: the paths of its files, and what is read and written in them.

    All of it is readable by its owner alone.

    Args:
        path: the folder; it need not exist yet.
    """

    # Trusted, and seen by this machine alone.
    meta_file = PrivatePath("meta.json")
    metadata = PrivatePath("metadata.json")
    decisions = PrivatePath("decisions.jsonl")
    answers = PrivatePath("answers.jsonl")  # to Claude's questions
    reasons = PrivatePath("reasons.jsonl")  # why turns were ended from here
    parked = PrivatePath("parked.json")  # a prompt that waits for the rate limit
    owner = PrivatePath("owner")  # who may start Claude, or was the last to
    given_up = PrivatePath("given-up")  # whoever starts Claude is to leave off
    hosted = PrivatePath("hosted")  # there was a host, and where it makes its temporary folder
    container_file = PrivatePath("container.json")
    link_file = PrivatePath("link.json")  # how the link process reaches the place
    announced = PrivatePath("announced")  # messages that a link is to deliver
    delivered = PrivatePath("delivered")  # those that it has delivered
    terminal = PrivatePath("terminal.json")  # a terminal host's launch specification, until read
    screen = PrivatePath("screen")  # the path of that host's socket for screens
    records = PrivatePath("records")  # transcripts of a place that does not keep them
    record_before = PrivatePath("record-before")  # set aside while another record is moved here
    transcripts = PrivatePath("transcripts.json")  # how much it has copied of Claude's transcripts
    # Readable by the place.
    inbox = GivenPath("inbox")
    framework = GivenPath("framework.md")
    agents = GivenPath("agents.json")
    host_script = GivenPath("host.sh")  # for a container; else the installed script is run
    expected_place = GivenPath("expected")
    made = GivenPath("made")  # the host's files are made already; where its temporary folder is
    # Written by the place, and never trusted.
    journal = ExchangeEntry("out.jsonl")
    errors = ExchangeEntry("err.log")
    host_errors = ExchangeEntry("host.log")
    feed = ExchangeEntry("feed")
    lease = ExchangeEntry("lease")
    stdin = ExchangeEntry("stdin")
    alive = ExchangeEntry("alive")  # a FIFO that ends for its readers when the host does
    pid_file = ExchangeEntry("pid")
    exit_file = ExchangeEntry("exit")
    closed = ExchangeEntry("closed")  # the host has ended the input, since nobody followed
    temporary = ExchangeEntry("temporary")  # the folder of Claude's temporary files, in the place
    place = ExchangeEntry("place")  # the host's statement of where it runs
    environ = ExchangeEntry("environ")  # variables for Claude, until the host has read them
    claude = ExchangeEntry("claude")  # the configuration folder of a Claude in a container

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def is_flat(self) -> bool:
        """Whether an earlier release made it, which put all files directly into it."""
        flat, parted = (os.path.lexists(self.path / name) for name in ("out.jsonl", "exchange"))
        return flat and not parted

    @cached_property
    def given(self) -> Path:
        """The folder of files that a place may read, and not write."""
        return self.path if self.is_flat else self.path / "given"

    @cached_property
    def exchange(self) -> Path:
        """The folder of files that a place writes."""
        return self.path if self.is_flat else self.path / "exchange"

    def check(self) -> None:
        """Check, before acting on the folder's content, that nobody else could have written it.

        Raises:
            StorageError: others may have written it.
        """
        if self.path.is_symlink():
            raise StorageError(f"{self.path} is a link, and no session; remove it")
        check_private(self.path)
        # A container of an earlier release could write everything in the folder.
        if self.is_flat and (self.path / "claude").is_dir():
            name = self.path.name
            raise StorageError(
                f"session {name} ran in a container that could write its record, so nothing is"
                " done by it; it can be read, and what runs of it is ended with:"
                f" docker rm --force $(docker ps -q --filter label=claude-mpm.session={name})"
            )

    def damage(self) -> list[str]:
        """Return a description of each file of the exchange that is not of the right kind."""
        files = (
            self.journal, self.errors, self.host_errors, self.pid_file, self.exit_file,
            self.closed, self.temporary, self.place, self.environ,
        )  # fmt: skip
        fifos = (self.feed, self.lease, self.stdin, self.alive)
        faults = [file.wrong() for file in files] + [fifo.wrong(fifo=True) for fifo in fifos]
        return [fault for fault in faults if fault is not None]

    def create(self) -> None:
        """Make the folder with an empty inbox and journal; existing files are kept.

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
        """Make new FIFOs, and remove the files of an earlier host."""
        with storage_errors(self.path):
            self.remove_host()
            earlier = (self.given_up, self.link_file, self.announced, self.delivered)
            for path in (*earlier, self.container_file):
                path.unlink(missing_ok=True)
            for fifo in (self.feed, self.lease):
                fifo.make_fifo()
            # Last, so that the earlier host counts as ended until then.
            for file in (self.place, self.exit_file):
                file.remove()
            self.hosted.touch(mode=0o600)

    def give_up_start(self) -> None:
        """Have whoever starts Claude leave off; the place may take long until it can run.

        Nothing happens where no start has prepared the folder.

        Raises:
            StorageError: it cannot be written.
        """
        if not self.hosted.exists():
            return
        with storage_errors(self.path):
            self.given_up.touch(mode=0o600)

    def check_start(self) -> None:
        """Check that nobody has ended the session while it starts.

        Raises:
            LaunchError: somebody has.
        """
        if self.given_up.exists():
            raise LaunchError(f"session {self.path.name} was stopped while it started")

    def remove_host(self) -> None:
        """Remove the files that only a running host needs."""
        remove_socket(self.screen)
        for path in (self.expected_place, self.made, self.terminal, self.screen):
            path.unlink(missing_ok=True)
        fifos = (self.feed, self.lease, self.stdin, self.alive)
        for file in (*fifos, self.pid_file, self.closed, self.environ, self.temporary):
            file.remove()

    def note_killed(self) -> None:
        """Write the exit status for a host that was killed before it could."""
        if self.exit_status() is None:
            self.exit_file.write(f"{_KILLED_STATUS}\n".encode())

    def remove_temporary(self) -> bool:
        """Remove Claude's temporary files, if its host was killed; return whether there were any.

        Those of a container are inside it, and were removed with it.
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
        """Record where a host with these environment variables makes its temporary folder."""
        self.write(self.hosted, f"{temporary_base(environ)}\n".encode())

    def note_failed_start(self, reason: str) -> None:
        """Record why no host was started."""
        self.host_errors.append(f"{reason}\n".encode())
        self.remove_host()
        self.exit_file.write(b"126\n")

    def expect_place(self, expected: Mapping[str, str]) -> None:
        """Write what the host's statement of where it runs must contain."""
        lines = "".join(f"{key}={value}\n" for key, value in expected.items())
        self.write(self.expected_place, lines.encode())

    def how_it_ended(self) -> tuple[int | None, bool]:
        """Return Claude's exit status, if there is one, and whether its host has gone without."""
        ended = self.has_ended()  # read before the status, which the host writes before it ends
        status = self.exit_status()
        return status, ended and status is None

    def stated_place(self) -> str:
        """Return the host's statement of where it runs, line by line; empty if there is none."""
        return "\n".join(f"{key}={value}" for key, value in self.read_place().items())

    def is_expected_at(self, statement: bytes) -> bool:
        """Return whether a statement of where the host runs contains what it must."""
        try:
            expected = self.expected_place.read_bytes().splitlines()
        except FileNotFoundError:
            return True
        return set(expected) <= set(statement.splitlines())

    def read_place(self) -> dict[str, str]:
        """Return the host's statement of where it runs; empty if there is none."""
        try:
            lines = self.place.read().decode("utf-8", "replace").splitlines()
        except (FileNotFoundError, StorageError):
            return {}
        return {key: value for key, _, value in (line.partition("=") for line in lines)}

    def write(self, file: Path, data: bytes) -> None:
        """Replace one of our own files atomically."""
        with storage_errors(file):
            write_whole(file, data)

    def append(self, file: Path, line: str) -> None:
        """Append a line to one of our own files."""
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
        """Write the session's record.

        Raises:
            UsageError: a value is not UTF-8, such as a path.
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

    def full_disk(self) -> StorageError | None:
        """Return the error of a full disk: Claude goes on there without what it cannot write."""
        if not disk_is_full(self.path):
            return None
        return StorageError(f"the disk of {self.path} is full; free some space")

    def note_container(self, container: Container) -> None:
        """Record the session's container."""
        self.write(self.container_file, msgspec.json.encode(container) + b"\n")

    def read_container(self) -> Container | None:
        """Return the container of the session's last start; None if there was none."""
        try:
            return msgspec.json.decode(self.container_file.read_bytes(), type=Container)
        except (FileNotFoundError, *NOT_JSON):
            return None

    def exit_status(self) -> int | None:
        """Return Claude's exit status, as the host wrote it; None without a valid one.

        A host removes its `feed` first: while one runs, someone else has written the status.
        """
        status = _numbers(self.exit_file)
        is_valid = len(status) == 1 and abs(status[0]) < 256
        return status[0] if is_valid and not self.has_host() else None

    def pids(self) -> tuple[int, int] | None:
        """Return the process ids of the host and of Claude; None before the start."""
        pids = _numbers(self.pid_file)
        # To signal -1 is to signal everybody.
        return (pids[0], pids[1]) if len(pids) == 2 and min(pids) >= 0 else None

    def write_pids(self, host: int, claude: int) -> None:
        """Write the process ids of the host, or of what acts as the host, and of Claude."""
        self.pid_file.write(f"{host} {claude}\n".encode())

    def has_host(self) -> bool:
        """Return whether a host reads `feed`, which it does from its start to its end."""
        try:
            os.close(self.feed.open_fifo(os.O_WRONLY))
        except (OSError, StorageError):  # there is none, or it is not a FIFO that is read
            return False
        return True

    def has_ended(self) -> bool:
        """Return whether nothing more is written: there is an exit status, or no process is left.

        A host removes its `feed` before it writes the exit status; one that was killed leaves it.
        Without a host, the controller writes the status, and may be killed.
        """
        pids = self.pids()
        if pids is not None and self.host_is_dead():  # its helpers may still hold the feed
            return self.container_file.exists() or not belongs(pids[1], self.path)
        if self.has_host():
            return False
        if self.link_file.exists():  # without its link, the state of the far side is unknown
            return self.exit_file.exists()
        if self.exit_file.exists() or self.feed.exists():
            return True
        made = self.read_container()
        if made is not None and made.gone:  # with all that was in it, whatever it has left here
            return True
        return not exists(pids[0]) if pids is not None else self._is_deserted()

    def _is_deserted(self) -> bool:
        """Return whether a host's files are gone, without an exit status.

        A host removes them just before it writes the status; only if the place removed them does
        the status stay missing.
        """
        if not self.hosted.exists():
            return False
        try:
            age = time.time() - os.lstat(self.exchange).st_mtime
        except FileNotFoundError:
            return True
        return not 0 <= age < _EXIT_DELAY

    def host_is_dead(self) -> bool:
        """Return whether a host was started and has ended without an exit status: it was killed.

        It holds `alive` open from its start to its end, and removes it before it writes the status.
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
        """Terminate an unfinished last line of the journal; return whether there was one.

        So what is written next is not read as the rest of that line.
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
        """Return one line about how Claude ended; None while it runs.

        Args:
            status: the exit status, if the host could not write it.
        """
        written = self.exit_status()
        status = status if written is None else written
        if status is None:
            return None
        reason = error_line(self.stderr_tail())
        return f"Claude ended with status {status}" + (f": {reason}" if reason else "")

    def stderr_tail(self) -> str:
        """Return the end of Claude's standard error since the start, or else of the host's.

        What earlier starts of the session wrote does not explain how this one ended.
        """
        start = self._last_start()
        text = _tail(self.errors, since=start.errors)
        text = text or _tail(self.host_errors, since=start.host_errors)
        return _SCRIPT_PREFIX.sub("", text)

    def _last_start(self) -> Start:
        try:
            return self.read_meta().last_start
        except StorageError:
            return _NO_START

    def printed(self, since: int) -> str:
        """Return the last lines of the journal that are not messages.

        Args:
            since: the offset from which the journal is read, in bytes.
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


def is_session_name(name: str) -> bool:
    """Return whether a name can be a session's id, which is the name of its folder."""
    return _SAFE_NAME.fullmatch(name) is not None


def session_path(state_dir: Path, session_id: str) -> Path:
    """Return the folder of a session.

    Raises:
        UsageError: the id is not a valid folder name.
    """
    if not is_session_name(session_id):
        raise UsageError(
            f"session id {session_id!r} cannot be a folder's name: use letters, digits, . _ -"
        )
    return state_dir / "sessions" / session_id


def _numbers(file: ExchangeFile) -> list[int]:
    """Return the numbers in a file; none if one of them is out of the range of process ids."""
    try:
        words = file.read(_NUMBERS).split()
    except (FileNotFoundError, StorageError):
        return []
    numbers = [int(word) for word in words if _NUMBER.fullmatch(word)]
    are_valid = len(numbers) == len(words) and all(number < 2**31 for number in numbers)
    return numbers if are_valid else []
