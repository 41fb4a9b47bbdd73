"""Who reads the output of a session: the thread that watches all folders, or one of its own."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from claude_mpm.engine.live_session import LiveSession
    from claude_mpm.engine.output import ClaudeOutput, Hooks

_PATIENCE = 1.0  # seconds to wait for more where it is worth it


class Reader(Protocol):
    """Reads an output to its end."""

    def start(self) -> None:
        """Begin."""

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end, for `timeout` seconds at most."""

    def is_current(self) -> bool:
        """Return whether it is the reader itself that asks."""


class ReaderThread(threading.Thread):
    """A thread that reads one output to its end."""

    def is_current(self) -> bool:
        """Return whether it is this thread that asks."""
        return threading.current_thread() is self


class SharedReading:
    """Reads an output in the thread that watches the folders, which does so for many sessions.

    Nothing there may wait. What would, such as a write to the index, is an errand: a thread of its
    own does it, from right there, and gives the reading back.

    Args:
        live: the session.
        output: its output; `leave` is called where somebody else begins to read it.
        hooks: called in errands that find nothing to read, and when all was read.
        name: of the threads for errands.
    """

    __slots__ = (
        "_away", "_failure", "_hooks", "_left", "_lines", "_live", "_lock", "_name", "_output",
        "_quiet", "_session", "_thread",
    )  # fmt: skip

    def __init__(self, live: LiveSession, output: ClaudeOutput, hooks: Hooks, *, name: str) -> None:
        assert live.session is not None
        self._live = live
        self._session = live.session
        self._lines = live.lines
        self._output = output
        self._hooks = hooks
        self._name = name
        # The watching thread begins errands, an errand gives the reading back, and anybody who
        # reads by himself takes it away: each holds it for the four fields below.
        self._lock = threading.Lock()
        self._away = False  # on an errand
        self._left = False  # it has ended, or is read by others too
        self._quiet = False
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None

    # --- from any thread --------------------------------------------------------------------

    def start(self) -> None:
        """Begin to read."""
        self._output.read_by(self)
        self._session.serve(self)

    def join(self, timeout: float | None = None) -> None:
        """Wait until all was read, for `timeout` seconds at most."""
        self._output.finished.wait(timeout)
        thread = self._thread
        if thread is not None:
            thread.join(timeout)

    def is_current(self) -> bool:
        """Return whether it is an errand that asks."""
        return threading.current_thread() is self._thread

    def leave(self) -> None:
        """Read in a thread of its own from now on; others read as well."""
        with self._lock:
            if self._left:
                return
            if not self._away:
                self._begin_errand()
            self._left = True
        self._session.wake()

    # --- in the thread that watches ---------------------------------------------------------

    def on_change(self, renamed: bool, /) -> bool:
        """Hand on what has come; return whether there is more."""
        reading = self._output.reading
        if not reading.acquire(blocking=False):  # somebody else reads from now on
            return False
        try:
            if self._left:
                return False
            goes_on = not (renamed and self._live.may_be_over()) and self._hand_on()
        except Exception as error:  # noqa: BLE001 -- it is raised again, where it ends one session
            self._failure = error
            goes_on = False
        finally:
            reading.release()
        if not goes_on:
            self._send_away()
        return goes_on and self._session.more

    def on_tick(self) -> None:
        """See to what takes time."""
        try:
            is_due = self._quiet and self._live.look()
        except Exception as error:  # noqa: BLE001 -- as above
            self._failure, is_due = error, True
        self._quiet = True
        if is_due:
            self._send_away()

    def _hand_on(self) -> bool:
        events = self._session.poll()
        if events is None:
            return False
        if events:
            self._quiet = False
            self._output.push(events, self._lines)
        return not self._live.may_block()

    def _send_away(self) -> None:
        # Where no thread can be had, it is tried again, at the latest when it is looked for an end.
        with self._lock, suppress(RuntimeError):
            if not self._left and not self._away:
                self._begin_errand()

    def _begin_errand(self) -> None:
        # Called with the lock held. The thread reads on where the watching thread stood, does what
        # takes time, and gives the reading back; the folder's notices go to it meanwhile.
        thread = threading.Thread(target=self._run_errand, name=self._name, daemon=True)
        thread.start()
        self._thread = thread
        self._away = True
        self._session.serve(None)

    # --- in a thread of its own -------------------------------------------------------------

    def _run_errand(self) -> None:
        try:
            is_over = self._read_on()
        except BaseException as error:  # noqa: BLE001 -- whatever it is, nobody reads further
            self._hooks.on_failure(error)
            return
        if is_over:
            self._hooks.on_over()

    def _read_on(self) -> bool:
        """Read until the reading can be given back, or to the end; return whether that came."""
        with self._lock:  # until it is known as one
            failure = self._failure
        if failure is not None:
            raise failure
        while self._goes_on():
            pass
        with self._lock:
            alone = not self._left
            if alone and not self._session.ended:
                self._away, self._thread = False, None
                self._session.serve(self)
                return False
            self._left = True
        if alone:
            self._output.finish()
        else:
            self._output.hand_on(self._lines)
        return True

    def _goes_on(self) -> bool:
        """Take one step, however long that takes; return whether there is more to do here."""
        with self._output.reading:
            if self._left or self._session.ended:
                return False
            # The host may be gone, and Claude not yet.
            stays = self._live.may_block() or self._live.may_be_over()
            events = self._session.read(_PATIENCE if stays else 0.0)
            self._output.push(events, self._lines)
            if not events:
                self._hooks.on_idle()
            return stays or bool(events) or self._live.may_block()
