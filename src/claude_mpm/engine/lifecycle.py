"""The phase of a running session: who starts it, who ends it, and who waits for that."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Phase(StrEnum):
    """What a session in this process can be at."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DETACHED = "detached"


_ENDING = frozenset({Phase.STOPPING, Phase.STOPPED, Phase.DETACHED})


class Lifecycle:
    """Keeps the phase, which one thread changes at a time.

    Attributes:
        phase: what the session is at; any thread may read it.
        starts: whether somebody starts it, also where another ends it meanwhile.
    """

    __slots__ = ("_changed", "_lock", "_stopper", "phase", "starts")

    def __init__(self) -> None:
        self.phase = Phase.NEW
        self.starts = False
        self._stopper: threading.Thread | None = None
        # Any thread may stop the session, also one that reads it or watches over it: each takes
        # this lock to change the phase. It is held, too, while everything is closed, and while a
        # lost Claude is started again, so that neither meets an end. Who holds it may take it
        # again. Who waits does so through the condition on it, made by the first who does: most
        # sessions need none, and it takes more memory than the lock.
        self._lock = threading.RLock()
        self._changed: threading.Condition | None = None

    @property
    def ends(self) -> bool:
        """Whether the session is being stopped, or was, or was left to itself."""
        return self.phase in _ENDING

    def begin_start(self) -> None:
        """Begin with a start, whatever was before."""
        with self._lock:
            self.phase = Phase.STARTING
            self.starts = True

    def finish_start(self) -> bool:
        """Note that Claude is there; return whether nobody has ended the session meanwhile."""
        with self._lock:
            self.starts = False
            if not self.ends:
                self.phase = Phase.RUNNING
            return not self.ends

    def fail_start(self) -> None:
        """Note that a start has failed."""
        with self._lock:
            self.starts = False
            if self.phase is Phase.STARTING:
                self.phase = Phase.NEW

    def begin_stop(self) -> bool:
        """Become the one who ends the session; return False where another is, or was."""
        with self._lock:
            if self.ends and not self._given_up:
                return False
            self.phase = Phase.STOPPING
            self._stopper = threading.current_thread()
            self._notify()
            return True

    @property
    def _given_up(self) -> bool:
        return self.phase is Phase.STOPPING and self._stopper is None

    def give_up_stop(self) -> None:
        """Note that this thread was interrupted where it ends the session; another may go on."""
        with self._lock:
            if self.is_stopper():
                self._stopper = None

    def finish_stop(self) -> None:
        """Note that Claude has ended."""
        with self._lock:
            self.phase = Phase.STOPPED
            self._stopper = None
            self._notify()

    def detach(self) -> bool:
        """Leave Claude to itself; return False where the session is ended already."""
        with self._lock:
            if self.ends:
                return False
            self.phase = Phase.DETACHED
            self._notify()
            return True

    def is_stopper(self) -> bool:
        """Return whether it is the thread that ends the session which asks."""
        return threading.current_thread() is self._stopper

    def wait_for_stop(self, timeout: float) -> None:
        """Wait until the one who ends the session is done, for `timeout` seconds at most."""
        with self._lock:
            self._wait_for(lambda: self.phase is not Phase.STOPPING, timeout)

    def pause(self, seconds: float) -> bool:
        """Wait, unless somebody ends the session meanwhile; return whether that is so."""
        with self._lock:
            return self._wait_for(lambda: self.ends, seconds)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep others from ending, starting and closing meanwhile."""
        with self._lock:
            yield

    def _notify(self) -> None:
        if self._changed is not None:
            self._changed.notify_all()

    def _wait_for(self, is_so: Callable[[], bool], timeout: float) -> bool:
        self._changed = self._changed or threading.Condition(self._lock)
        return self._changed.wait_for(is_so, timeout)
