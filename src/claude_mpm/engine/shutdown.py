"""The end of a session's Claude, step by step, also where its host is gone already."""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from claude_mpm.errors import LaunchError, MPMError
from claude_mpm.journal import orphans
from claude_mpm.journal.folder_watch import subscribe

if TYPE_CHECKING:
    import threading

    from claude_mpm.engine.input import Input
    from claude_mpm.environments.base import Environment
    from claude_mpm.environments.order import HostProcess
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.wire import Wire

_GLANCE = 0.5  # seconds between two looks whether the host still lives
_LINKED = 30.0  # seconds for a session elsewhere to end by its link alone
_WITHOUT_HOST = 2.0  # seconds for a Claude whose host is gone to end by itself


class Patience(Protocol):
    """How long it is waited for an end."""

    @property
    def stop_timeout(self) -> float: ...


class Endable(Protocol):
    """What there is to end."""

    process: HostProcess | None
    hosted: bool
    environment: Environment
    wire: Wire

    @property
    def folder(self) -> SessionFolder: ...
    @property
    def input(self) -> Input: ...
    @property
    def options(self) -> Patience: ...


class Shutdown:
    """Ends Claude: end of input, terminate, kill; each step bounded.

    Args:
        session: whose Claude it is.
    """

    def __init__(self, session: Endable) -> None:
        assert session.process is not None
        self._session = session
        self._folder = session.folder
        self._process = session.process
        self._hosted = session.hosted
        self._patience = session.options.stop_timeout

    def run(self, over: threading.Event | None) -> None:
        """Go as far as it takes.

        Args:
            over: set when the output has ended; None where nobody reads it now.
        """
        for step in (self._end_input, self._process.terminate, self._kill):
            if self._is_gone() or self._is_without_host():
                break
            step()
            if self._wait_for_host(over):
                break
        if self._is_without_host():
            self._end_without_host(over)
        self._process.poll()  # reaps it

    def _end_input(self) -> None:
        """Interrupt Claude, and end its input."""
        given = self._session.input
        with suppress(MPMError):  # it has ended, which is what is wanted, or the disk is full
            if self._session.wire.structured:
                given.control("interrupt", cancel_queued=True)
        with suppress(MPMError):
            given.end()

    def _is_gone(self) -> bool:
        return self._process.poll() is not None

    def _is_without_host(self) -> bool:
        """Return whether the host was killed, so that nobody sees to the end of Claude but we."""
        linked = self._folder.link_file.exists()
        return self._hosted and not linked and self._folder.host_is_dead()

    def _end_without_host(self, over: threading.Event | None) -> None:
        """Do what the host would have done."""
        pids = self._folder.pids()
        if pids is not None and orphans.belongs(pids[1], self._folder.path):
            self._end_input()
            self._wait(over, min(_WITHOUT_HOST, self._patience))
        orphans.end(self._folder.path)
        if pids is not None and orphans.belongs(pids[1], self._folder.path):
            self._signal(pids[1])
        self._folder.remove_temporary()
        with suppress(MPMError):  # a full disk; it shows without it, too, that nobody is there
            self._folder.note_killed()
        self._wait(over, self._patience)

    def _kill(self) -> None:
        pids = self._folder.pids() if self._hosted else None
        if pids:
            self._signal(pids[1])
            if self._wait(None, self._patience):
                return
        self._process.kill()

    def _signal(self, pid: int) -> None:
        with suppress(MPMError):  # it cannot be reached, or is gone
            self._session.environment.signal_in(self._folder, pid, signal.SIGKILL)

    def _wait_for_host(self, over: threading.Event | None) -> bool:
        """Wait for the end that a step leads to; a host that dies meanwhile leads to none."""
        deadline = time.monotonic() + self._patience
        while not self._wait(over, min(_GLANCE, self._patience)):
            if time.monotonic() >= deadline or self._is_without_host():
                return False
        return True

    def _wait(self, over: threading.Event | None, timeout: float) -> bool:
        """Wait for the end; where somebody reads the output, that is quicker to hear of it."""
        if over is not None and not over.wait(timeout):
            return False
        try:
            self._process.wait(timeout=timeout)
        except subprocess.TimeoutExpired:
            return False
        return True


def end_what_is_left(folder: SessionFolder, *, processes: bool) -> bool:
    """End what a session has left that its files say nothing of; return whether there was any.

    Args:
        folder: the session's; its record need not be readable.
        processes: whether to look for processes of this machine, too.

    Raises:
        MPMError: nothing is done by what the folder says, or the place does not do it.
    """
    from claude_mpm.environments.container_host import end_container

    found = end_container(folder)
    if processes:
        if folder.link_file.exists():
            found |= _end_linked(folder)
        found |= bool(orphans.end(folder.path))
        folder.remove_temporary()
        if found and folder.has_ended():
            folder.remove_host()
    return found


def _end_linked(folder: SessionFolder) -> bool:
    """End a session that lives elsewhere by its link alone, which knows the way."""
    from claude_mpm.environments.linked import LinkedHost

    folder.check()
    host = LinkedHost(folder)
    runs = host.poll() is None
    host.terminate()
    with suppress(subprocess.TimeoutExpired):
        host.wait(_LINKED)
    return runs


def wait_for_host(folder: SessionFolder, process: HostProcess, timeout: float) -> None:
    """Wait until a host takes what is announced, or has ended.

    Raises:
        LaunchError: it did neither within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    changes = subscribe(folder.exchange)
    try:
        while folder.pids() is None and not folder.exit_file.exists() and process.poll() is None:
            if time.monotonic() > deadline:
                raise LaunchError(f"the host of session {folder.path.name} does not begin")
            changes.wait(0.1)
    finally:
        changes.close()
