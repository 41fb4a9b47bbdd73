"""Who follows a session: any number of processes hold its lease, and one of them owns it.

The lease keeps Claude running. Only the owner starts Claude again, and resends prompts that were
not delivered; each owner has a higher number than all before it. The kernel releases the lease and
the lock of a process that dies.
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
from claude_mpm.folders import close_lock
from claude_mpm.journal.orphans import exists
from claude_mpm.journal.storage import storage_errors, write_whole
from claude_mpm.validation import NOT_JSON, local_time

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder

# The process that has just won the lock needs a moment, in seconds, to write who it is.
_TRIES, _PAUSE = 250, 0.02


class Lease:
    """Keeps a session's Claude from being ended by the linger rule."""

    __slots__ = ("_descriptor",)

    def __init__(self, folder: SessionFolder) -> None:
        # For reading and writing, so that opening does not block, and the host may start later.
        self._descriptor = folder.lease.open_fifo(os.O_RDWR)
        os.write(self._descriptor, b"held\n")

    def release(self) -> None:
        """Release it; safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Owner(msgspec.Struct, frozen=True):
    """The current or the last owner of a session.

    Args:
        number: counts the owners; an owner that reads a higher one than its own has lost the
            session.
        host: the machine's name.
        pid: the process there.
        at: since when, in seconds since the epoch.
        released: whether it has released the session.
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
    """Return the current or the last owner of a session; number 0 if there never was one."""
    try:
        return msgspec.json.decode(folder.owner.read_bytes(), type=Owner)
    except (FileNotFoundError, *NOT_JSON):  # damaged by a power cut: start again from 0
        return Owner()


def machine() -> str:
    """Return this machine's name."""
    return os.uname().nodename


class SessionLock:
    """Owns a session, unless another process does; released when this process dies.

    On one machine, and on file systems whose locks work across machines, the kernel ensures that
    there is one owner. Elsewhere the number does: it increases with each owner.

    Attributes:
        owner: this process, or the one that owns the session instead.
    """

    def __init__(self, folder: SessionFolder) -> None:
        self._folder = folder
        self._lost = False
        # The lock is on the folder itself, which exists before its files, and outlives every host.
        self._descriptor = os.open(folder.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._close()
            self.owner = _wait_for_owner(folder)
            return
        last = read_owner(folder)
        if _may_run_elsewhere(folder, last):
            self._close()
            self.owner = last
            return
        self.owner = Owner(last.number + 1, machine(), os.getpid(), time.time())
        try:
            self._write(self.owner)
        except BaseException:
            self._close()
            raise

    @property
    def held(self) -> bool:
        """Whether this process owns the session."""
        return self._descriptor >= 0

    def check(self) -> None:
        """Check, before doing what only the owner may do, that no other process took the session.

        Raises:
            NotOwner: it was ours, and another process owns it now.
        """
        current = read_owner(self._folder)
        if self.held and current.number != self.owner.number:
            self._close()
            self.owner = current
            self._lost = True
        if self._lost:
            raise NotOwner(self.refusal())

    def refusal(self) -> str:
        """Return one line about who owns the session, and what the user can do."""
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
        """Release it; safe to call twice."""
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
            close_lock(self._descriptor)
            self._descriptor = -1


class Ownership:
    """A controller's attempts to own a session."""

    __slots__ = ("_folder", "_lock")

    def __init__(self, folder: SessionFolder) -> None:
        self._folder = folder
        self._lock: SessionLock | None = None

    @property
    def owner(self) -> Owner | None:
        """The session's owner at the last attempt; None before the first."""
        return self._lock.owner if self._lock is not None else None

    def claim(self) -> bool:
        """Try to own the session; return whether this process does."""
        if self._lock is None or not self._lock.held:
            self._lock = SessionLock(self._folder)
        return self._lock.held

    def check(self) -> None:
        """Check that no other process took the session; does nothing without an attempt.

        Raises:
            NotOwner: another process owns it now.
        """
        if self._lock is not None:
            self._lock.check()

    def refusal(self) -> NotOwner:
        """Return the error that names the owner."""
        return NotOwner(self._lock.refusal() if self._lock is not None else "it was not tried")

    def release(self) -> None:
        """Release it; safe to call twice."""
        if self._lock is not None:
            self._lock.release()


def _may_run_elsewhere(folder: SessionFolder, owner: Owner) -> bool:
    """Return whether another machine started Claude, and no end of it is recorded."""
    return (
        owner.number > 0
        and owner.host != machine()
        and folder.pids() is not None
        and folder.exit_status() is None
        and not folder.has_host()
    )


def _wait_for_owner(folder: SessionFolder) -> Owner:
    """Return who holds the lock, as soon as it has written so."""
    never_set = threading.Event()
    for _ in range(_TRIES):
        owner = read_owner(folder)
        if not owner.released and _may_be_alive(owner):
            return owner
        never_set.wait(_PAUSE)
    return owner


def _may_be_alive(owner: Owner) -> bool:
    if owner.host != machine():
        return owner.number > 0
    return owner.pid > 0 and exists(owner.pid)
