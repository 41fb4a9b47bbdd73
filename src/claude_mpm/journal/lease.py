"""Who follows a session: any number hold its lease, one owns it; the kernel lets go of both.

The lease keeps Claude from being ended. The owner alone gives Claude the prompts that were put and
not heard of, and starts it again; each has a number higher than that of every owner before.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.errors import NotOwner, StorageError
from claude_mpm.journal.storage import storage_errors, write_whole
from claude_mpm.validation import NOT_JSON, local_time

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder

_TRIES, _PAUSE = 50, 0.02  # who has just won the lock has not yet written who it is


class Lease:
    """Keeps a session's Claude from being ended by the linger rule."""

    def __init__(self, folder: SessionFolder) -> None:
        # Reading and writing, so that opening waits for nobody and the host may come later.
        self._descriptor = folder.lease.open_fifo(os.O_RDWR)
        os.write(self._descriptor, b"held\n")

    def release(self) -> None:
        """Let go; safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Owner(msgspec.Struct, frozen=True):
    """Who owns a session, or did so last.

    Args:
        number: counts the owners; whoever reads a higher one than its own has lost the session.
        host: the machine.
        pid: the process there.
        at: since when, in seconds since the epoch.
        released: whether it has let go of it by itself.
    """

    number: int = 0
    host: str = ""
    pid: int = 0
    at: float = 0.0
    released: bool = False

    def __str__(self) -> str:
        since = local_time(self.at)
        return f"{self.pid}@{self.host} since {since}"


def read_owner(folder: SessionFolder) -> Owner:
    """Return who owns a session, or did so last; number 0 where nobody ever did."""
    try:
        return msgspec.json.decode(folder.owner.read_bytes(), type=Owner)
    except (FileNotFoundError, *NOT_JSON):  # damaged by a power cut: begin anew
        return Owner()


def machine() -> str:
    """Return this machine's name."""
    return os.uname().nodename


class SessionLock:
    """Owns a session where nobody else does; death lets go of it.

    On one machine, and wherever locks reach across machines, the kernel sees to it that there is
    one. Where they do not, the number does: it moves on with each owner.

    Attributes:
        owner: this object; or who has the session, where that is another.
    """

    def __init__(self, folder: SessionFolder) -> None:
        self._folder = folder
        self._lost = False
        # The folder itself: it is there before all that is in it, and outlives every host.
        self._descriptor = os.open(folder.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._close()
            self.owner = _who_has(folder)
            return
        before = read_owner(folder)
        if _may_run_elsewhere(folder, before):
            self._close()
            self.owner = before
            return
        self.owner = Owner(before.number + 1, machine(), os.getpid(), time.time())
        try:
            self._write(self.owner)
        except BaseException:
            self._close()
            raise

    @property
    def held(self) -> bool:
        """Whether this object has it."""
        return self._descriptor >= 0

    def check(self) -> None:
        """Make sure, before something is done that only one may do, that nobody took the session.

        Raises:
            NotOwner: it was ours, and another has it now.
        """
        found = read_owner(self._folder)
        if self.held and found.number != self.owner.number:
            self._close()
            self.owner = found
            self._lost = True
        if self._lost:
            raise NotOwner(self.refusal())

    def refusal(self) -> str:
        """Say in one line who has the session, and what can be done."""
        name = self._folder.path.name
        if _may_run_elsewhere(self._folder, self.owner):
            return (
                f"session {name} was started by {self.owner}, and Claude may still run there:"
                f" resume it there, or, if that machine is gone, rm {self._folder.owner}"
            )
        return (
            f"session {name} is being started by another claude-mpm, {self.owner};"
            f" `claude-mpm attach {name}` follows it"
        )

    def release(self) -> None:
        """Let go; safe to call twice."""
        if self.held:
            with contextlib.suppress(StorageError):  # the folder may be gone, or the disk full
                if read_owner(self._folder).number == self.owner.number:
                    self._write(msgspec.structs.replace(self.owner, released=True))
            self._close()

    def _write(self, owner: Owner) -> None:
        with storage_errors(self._folder.owner):
            write_whole(self._folder.owner, msgspec.json.encode(owner) + b"\n")

    def _close(self) -> None:
        if self.held:
            os.close(self._descriptor)
            self._descriptor = -1


class Ownership:
    """A controller's attempts to own a session."""

    def __init__(self, folder: SessionFolder) -> None:
        self._folder = folder
        self._lock: SessionLock | None = None

    @property
    def owner(self) -> Owner | None:
        """Who has the session, as far as it was tried to have it."""
        return self._lock.owner if self._lock is not None else None

    def claim(self) -> bool:
        """Try to own the session; tell if we do."""
        if self._lock is None or not self._lock.held:
            self._lock = SessionLock(self._folder)
        return self._lock.held

    def check(self) -> None:
        """Make sure that nobody took it from us; who only follows is not concerned.

        Raises:
            NotOwner: another has it now.
        """
        if self._lock is not None:
            self._lock.check()

    def refusal(self) -> NotOwner:
        """Say who has it in our place."""
        return NotOwner(self._lock.refusal() if self._lock is not None else "it was not tried")

    def release(self) -> None:
        """Let go; safe to call twice."""
        if self._lock is not None:
            self._lock.release()


def _may_run_elsewhere(folder: SessionFolder, owner: Owner) -> bool:
    """Tell whether another machine started Claude, and nobody has said that it ended."""
    return (
        owner.number > 0
        and owner.host != machine()
        and folder.pids() is not None
        and folder.exit_status() is None
        and not folder.has_host()
    )


def _who_has(folder: SessionFolder) -> Owner:
    """Return who holds the lock, which has a moment to say so."""
    nobody = threading.Event()
    for _ in range(_TRIES):
        owner = read_owner(folder)
        if not owner.released and _may_live(owner):
            return owner
        nobody.wait(_PAUSE)
    return owner


def _may_live(owner: Owner) -> bool:
    if owner.host != machine():
        return owner.number > 0
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return owner.pid > 0
