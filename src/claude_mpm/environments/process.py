"""A host that another controller started, as something like what `subprocess.Popen` returns."""

from __future__ import annotations

import signal
import subprocess
import time
from abc import ABC, abstractmethod
from typing import IO, TYPE_CHECKING, Protocol

from claude_mpm.journal.folder_watch import subscribe

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder

_LIVENESS_INTERVAL = 0.5
_KILLED = -9


class AdoptedHost(ABC):
    """The process of a session that was started elsewhere, for as long as it runs.

    Args:
        folder: the session's.
    """

    stdin: IO[str] | None = None
    stdout: IO[str] | None = None
    stderr: IO[str] | None = None

    def __init__(self, folder: SessionFolder) -> None:
        self._folder = folder
        self.args = ["claude"]
        self.returncode: int | None = None

    @property
    def pid(self) -> int:
        """The host's process id; 0 while it is not known."""
        return (self._folder.pids() or (0, 0))[0]

    def poll(self) -> int | None:
        """Return the exit status, -9 where nobody wrote one, None while it runs."""
        if self.returncode is None:
            ended = self._folder.has_ended()  # looked at first: the status is written before it
            self.returncode = self._folder.exit_status()
            if self.returncode is None and ended:
                self.returncode = _KILLED
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit status.

        Raises:
            subprocess.TimeoutExpired: it runs still after `timeout` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        changes = subscribe(self._folder.exchange)
        try:
            while (status := self.poll()) is None:
                if deadline is not None and time.monotonic() >= deadline:
                    raise subprocess.TimeoutExpired(self.args, timeout or 0)
                changes.wait(_LIVENESS_INTERVAL)
            return status
        finally:
            changes.close()

    def send_signal(self, signum: int) -> None:
        """Send the host a signal."""
        if self.pid and self.poll() is None:
            self._signal(self.pid, signum)

    @abstractmethod
    def _signal(self, pid: int, signum: int) -> None:
        """Send a process of the place a signal."""

    def terminate(self) -> None:
        """Ask the host to end Claude and itself."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the host at once."""
        self.send_signal(signal.SIGKILL)


class Signalling(Protocol):
    """The place of a session, as far as it sends signals there."""

    def signal_in(self, folder: SessionFolder, pid: int, signum: int) -> None:
        """Send a signal to a process of one session."""


class HostInPlace(AdoptedHost):
    """A host that the place itself sends its signals to.

    Args:
        folder: the session's.
        place: where it runs.
    """

    def __init__(self, folder: SessionFolder, place: Signalling) -> None:
        super().__init__(folder)
        self._place = place

    def _signal(self, pid: int, signum: int) -> None:
        self._place.signal_in(self._folder, pid, signum)
