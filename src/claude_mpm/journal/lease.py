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
from claude_mpm.journal.layout import storage_errors, write_whole

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder

_TRIES, _PAUSE = 50, 0.02  # who has just won the lock has not yet written who it is


class Lease:
    """Keeps a session's Claude from being ended by the linger rule."""

    def __init__(self, folder: SessionFolder) -> None:
        # Reading and writing, so that opening waits for nobody and the host may come later.
        self._descriptor = os.open(folder.lease, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
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
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.at))
        return f"{self.pid}@{self.host} since {since}"


def read_owner(folder: SessionFolder) -> Owner:
    """Return who owns a session, or did so last; number 0 where nobody ever did."""
    try:
        return msgspec.json.decode(folder.owner.read_bytes(), type=Owner)
    except (FileNotFoundError, msgspec.DecodeError):  # damaged by a power cut: begin anew
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
        # The folder itself: it is there before all that is in it, and outlives every host.
        self._descriptor = os.open(folder.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._close()
            self.owner = _who_has(folder)
            return
        number = read_owner(folder).number + 1
        self.owner = Owner(number, machine(), os.getpid(), time.time())
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
        """Make sure that the session is still ours, before something is done that only one may do.

        Raises:
            NotOwner: another has it.
        """
        found = read_owner(self._folder)
        if not self.held or found.number != self.owner.number:
            raise NotOwner(
                f"session {self._folder.path.name} is no longer ours: {found} has it;"
                f" claude-mpm attach {self._folder.path.name} follows it there"
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
        os.close(self._descriptor)
        self._descriptor = -1


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
