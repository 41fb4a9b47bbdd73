"""The link: it delivers messages to the far side, copies the journal here, and reports the end.

On this machine it acts as the host: it reads `feed` and `lease`, and writes `out.jsonl`, `pid`
and `exit`. If it is killed, the session's controller starts it again, and it continues at the end
of the journal.
"""

from __future__ import annotations

import importlib
import os
import queue
import select
import shutil
import signal
import tempfile
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import msgspec

from claude_mpm.errors import StorageError
from claude_mpm.journal.exchange import NOTE
from claude_mpm.journal.inbox import END_OF_INPUT
from claude_mpm.link.far import FarFailed, FarState, LinkCut
from claude_mpm.link.lock import become_link

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from claude_mpm.journal.exchange import ExchangeFile
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.link.far import Far, Stream

T = TypeVar("T")

_BEAT = 10.0  # seconds between signs of life to the far side
_SILENCE = 2  # beats without a byte from there after which its state is requested
_IN_TRANSIT = 1.0  # seconds for bytes that were written there just now
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 30.0  # seconds before the next attempt
_LOST = 137  # the exit status if the host was killed, as if Claude itself had been
_LONGEST_ERRORS = 1 << 26  # bytes of a far file, other than the journal, that are copied
_LARGEST_PID = 1 << 31
_FAILED = 126  # the exit status if Claude could not be started


class _Spec(msgspec.Struct):
    """The common fields of all links' files; `kind` names the module that reads the rest."""

    kind: str
    base: int = 0


def run_link(folder: SessionFolder) -> None:
    """Run the link of a session until its end; does nothing if another process runs it.

    Raises:
        StorageError: others may have written the folder's files.
    """
    folder.check()
    if not become_link(folder) or folder.exit_file.exists():
        return
    far, base = read_far(folder)
    Link(folder, far, base).run()


def read_far(folder: SessionFolder) -> tuple[Far, int]:
    """Return the far session of a link's file, and the offset of its journal in the near one.

    Raises:
        StorageError: the file is damaged.
    """
    data = folder.link_file.read_bytes()
    try:
        spec = msgspec.json.decode(data, type=_Spec)
        module = importlib.import_module(f"claude_mpm.link.{spec.kind}")
        return module.open_far(msgspec.json.decode(data), folder), spec.base
    except (ImportError, AttributeError, ValueError, RecursionError) as error:
        reason = f"not what a link needs ({error}); resume the session to have it made again"
        raise StorageError(f"{folder.link_file}: {reason}") from error


class Link:
    """Connects a session's folder on this machine with the far session.

    The main thread copies the journal; one thread reads the feed, one watches the lease, one takes
    SIGTERM from the main thread, and one delivers messages and signals in their order.

    Args:
        folder: the session's folder on this machine.
        far: the far session.
        base: the offset of the far journal's first byte in the near journal.
    """

    def __init__(self, folder: SessionFolder, far: Far, base: int) -> None:
        self._folder = folder
        self._far = far
        self._base = base
        self._journal = folder.journal.open(os.O_RDWR | os.O_APPEND)
        # Opened for both directions, so that opening does not block and reading never ends.
        self._feed = folder.feed.open_fifo(os.O_RDWR)
        os.set_blocking(self._feed, True)
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._terminations: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stream: Stream | None = None
        self._held = False
        # Protects the stream, whether the lease is held, and whether the far session has ended.
        self._changing = threading.Lock()
        self._wake = threading.Event()  # set when there is a new order, so as to retry at once
        self._has_ended = False  # the far session; refusals after that are not reported

    def run(self) -> None:
        """Run until the session has ended."""
        signal.signal(signal.SIGTERM, self._on_terminate)
        self._write_pids(0)  # from here on we are sent signals
        for work in (self._read_feed, self._watch_lease, self._await_terminate):
            threading.Thread(target=work, daemon=True).start()
        try:
            if not self._folder.place.exists():
                self._retry(self._far.start)
            # Not before the start: names that are announced without a host are lost.
            threading.Thread(target=self._execute_orders, daemon=True).start()
            self._copy_journal()
        except FarFailed as error:
            self._log(str(error))
            self._finish(_FAILED if not self._folder.place.exists() else _LOST)

    # --- from there to here -----------------------------------------------------------------

    def _copy_journal(self) -> None:
        while True:
            state = self._retry(self._read_state)
            if state.exit is not None or state.dead:
                self._end(state)
                return
            try:
                self._follow()
            except LinkCut as error:
                self._log(f"link cut: {error}")
                self._wake.wait(_FIRST_PAUSE)

    def _read_state(self) -> FarState:
        """Request the far state, and write what is new in it."""
        state = self._far.state()
        if state.place:
            self._folder.place.write(state.place.encode()[:NOTE] + b"\n")
        if 0 < state.claude < _LARGEST_PID:
            self._write_pids(state.claude)
        if state.closed and not self._folder.closed.exists():
            self._folder.closed.write(b"linger\n")
        return state

    def _follow(self) -> None:
        """Copy the journal until the connection ends, for whatever reason."""
        stream = self._far.follow(self._copied())
        try:
            with self._changing:
                self._stream = stream
                if self._held:
                    stream.hold()
            silence = 0
            while True:
                if not select.select([stream], [], [], _BEAT)[0]:
                    stream.beat()
                    silence += 1
                    if silence % _SILENCE == 0 and not self._is_current(stream):
                        raise LinkCut("the connection carries nothing any more")
                elif chunk := stream.read():
                    silence = 0
                    self._append(chunk)
                elif chunk is not None:
                    return
        finally:
            with self._changing:
                self._stream = None
            stream.close()

    def _is_current(self, stream: Stream) -> bool:
        """Return whether a silent connection still works: some are cut without notice."""
        state = self._far.state()
        if state.exit is not None or state.dead or not stream.is_heard(state):
            return False
        return state.size <= self._copied() or bool(select.select([stream], [], [], _IN_TRANSIT)[0])

    def _end(self, state: FarState) -> None:
        """Fetch the rest, remove the far folder, and only then write the exit status."""
        with self._changing:
            self._has_ended = True
        if state.dead and state.claude:
            self._log("the host was killed")
            with suppress(LinkCut):
                self._far.signal(signal.SIGKILL)
        self._retry(self._fetch_rest)
        for file in (self._folder.errors, self._folder.host_errors):
            self._retry(partial(self._copy, file))
        self._retry(self._remove)
        self._finish(_LOST if state.exit is None else state.exit)

    def _fetch_rest(self) -> None:
        size = self._far.state().size
        for piece in self._far.fetch(self._folder.journal.name, self._copied()):
            self._append(piece)
            if self._copied() >= size:
                break
        if self._copied() < size:
            with suppress(FarFailed):  # there is nobody who goes on changing it
                self._far.signal(signal.SIGKILL)
            raise LinkCut("the rest of the journal was cut short")

    def _copy(self, file: ExchangeFile) -> None:
        """Append a far file to the one here, once it was fetched; of a long one the beginning."""
        left = _LONGEST_ERRORS
        with tempfile.TemporaryFile(dir=self._folder.path) as whole:
            for piece in self._far.fetch(file.name, 0):
                whole.write(piece[:left])
                left -= len(piece)
                if left <= 0:
                    break
            whole.seek(0)
            with open(file.open_to_append(), "ab") as copy:
                shutil.copyfileobj(whole, copy)

    def _remove(self) -> None:
        with suppress(FarFailed):  # it was removed already
            self._far.remove()

    def _copied(self) -> int:
        """Return how much of the far journal is here, in bytes."""
        return os.fstat(self._journal).st_size - self._base

    def _append(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._journal, data) :]

    def _finish(self, status: int) -> None:
        folder = self._folder
        folder.remove_host()
        folder.exit_file.write(f"{status}\n".encode())

    # --- from here to there -----------------------------------------------------------------

    def _read_feed(self) -> None:
        """Queue announced messages for delivery; first those that an earlier link has left."""
        with open(self._feed, "rb", buffering=0, closefd=False) as feed:
            queued = _names(self._folder.delivered)
            while True:
                for name in _names(self._folder.announced):
                    if name not in queued:
                        queued[name] = None
                        self._order(partial(self._deliver, name))
                feed.readline()  # waits for the next name

    def _deliver(self, name: str) -> None:
        end = name == END_OF_INPUT
        self._far.put(name, b"" if end else (self._folder.inbox / name).read_bytes())
        self._folder.append(self._folder.delivered, name)

    def _watch_lease(self) -> None:
        """Hold the far lease for as long as the near one is held."""
        while self._folder.lease.exists():
            followed = self._folder.lease.open_fifo(os.O_RDONLY, waits=True)
            with open(followed, "rb", buffering=0) as lease:
                self._hold(held=True)
                while lease.read(1 << 10):
                    pass
            self._hold(held=False)

    def _hold(self, *, held: bool) -> None:
        with self._changing:
            self._held = held
            if self._stream is not None:
                with suppress(LinkCut):  # the next connection does it
                    (self._stream.hold if held else self._stream.release)()

    def _on_terminate(self, *_: object) -> None:
        # No lock: it interrupts the main thread, which may hold that of `_wake`.
        self._terminations.put(None)

    def _await_terminate(self) -> None:
        """Order what SIGTERM asks for; runs in its own thread."""
        while True:
            self._terminations.get()
            self._order(lambda: self._far.signal(signal.SIGTERM))

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.put(order)
        self._wake.set()

    def _execute_orders(self) -> None:
        """Execute the queued orders, one after the other; runs in its own thread."""
        while True:
            order = self._orders.get()
            try:
                self._retry(order)
            except FarFailed as error:
                with self._changing:
                    if not self._has_ended:
                        self._log(str(error))

    # --- both ways --------------------------------------------------------------------------

    def _retry(self, work: Callable[[], T]) -> T:
        """Call `work` until the place can be reached."""
        pause = _FIRST_PAUSE
        while True:
            try:
                return work()
            except LinkCut as error:
                # A host that has ended accepts no message, and its own error stays the last line.
                with self._changing:
                    if not self._has_ended:
                        self._log(f"link cut: {error}; trying again in {pause:g} seconds")
            self._wake.wait(pause)
            self._wake.clear()
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _write_pids(self, claude: int) -> None:
        if self._folder.pids() != (os.getpid(), claude):
            self._folder.write_pids(os.getpid(), claude)

    def _log(self, text: str) -> None:
        self._folder.host_errors.append(f"{text}\n".encode())


def _names(file: Path) -> dict[str, None]:
    """Return the lines of a file, in their order."""
    try:
        return dict.fromkeys(file.read_text().splitlines())
    except FileNotFoundError:
        return {}
