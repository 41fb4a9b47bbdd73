"""What a link does: input goes there, the journal comes here, and the end is told once it is whole.

On this machine it stands for the host: it reads `feed` and `lease`, and writes `out.jsonl`, `pid`
and `exit`. When it is killed, whoever controls the session starts it again, and it goes on at the
byte that the journal ends with.
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

_BEAT = 10.0  # seconds between words to the far side
_SILENCE = 2  # of those without a byte from there, until it is asked whether we have missed any
_UNDER_WAY = 1.0  # seconds for what was written there just now
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 30.0  # seconds before a new try
_LOST = 137  # the status of a Claude whose host was killed, as of one that was killed itself
_LONGEST_ERRORS = 1 << 26  # bytes of a far file but the journal that are kept
_LARGEST_PID = 1 << 31
_FAILED = 126  # and of one that could not be started


class _Spec(msgspec.Struct):
    """What the files of all links have; `kind` is the module here that reads the rest."""

    kind: str
    base: int = 0


def run_link(folder: SessionFolder) -> None:
    """Keep a session in step until it has ended; nothing happens where another link does so.

    Raises:
        StorageError: others may have written what the folder says.
    """
    folder.check()
    if not become_link(folder) or folder.exit_file.exists():
        return
    far, base = read_far(folder)
    Link(folder, far, base).run()


def read_far(folder: SessionFolder) -> tuple[Far, int]:
    """Return the far session that a link's file tells of, and where its journal begins in the near.

    Raises:
        StorageError: the file is damaged.
    """
    data = folder.link_file.read_bytes()
    try:
        spec = msgspec.json.decode(data, type=_Spec)
        module = importlib.import_module(f"claude_mpm.link.{spec.kind}")
        return module.open_far(msgspec.json.decode(data), folder), spec.base
    except (ImportError, AttributeError, ValueError, RecursionError) as error:
        reason = f"not what a link needs ({error}); resume the session to have it made anew"
        raise StorageError(f"{folder.link_file}: {reason}") from error


class Link:
    """Keeps one session in step with where it lives.

    Args:
        folder: the session's folder on this machine.
        far: the session there.
        base: the byte of the journal here that is the first of the one there.
    """

    def __init__(self, folder: SessionFolder, far: Far, base: int) -> None:
        self._folder = folder
        self._far = far
        self._base = base
        self._journal = folder.journal.open(os.O_RDWR | os.O_APPEND)
        # Both ends, so that opening waits for nobody and reading never ends.
        self._feed = folder.feed.open_fifo(os.O_RDWR)
        os.set_blocking(self._feed, True)
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._stream: Stream | None = None
        self._held = False
        self._changing = threading.Lock()
        self._impatient = threading.Event()  # there is news; it is worth trying again at once
        self._has_ended = False  # there; what is refused from then on is no news

    def run(self) -> None:
        """Work until the session has ended."""
        self._note_pids(0)
        signal.signal(signal.SIGTERM, self._on_terminate)
        for work in (self._read_feed, self._watch_lease):
            threading.Thread(target=work, daemon=True).start()
        try:
            if not self._folder.place.exists():
                self._retry(self._far.start)
            # Not before: what is announced while no host has opened the feed is lost.
            threading.Thread(target=self._send, daemon=True).start()
            self._mirror()
        except FarFailed as error:
            self._say(str(error))
            self._finish(_FAILED if not self._folder.place.exists() else _LOST)

    # --- from there to here -----------------------------------------------------------------

    def _mirror(self) -> None:
        while True:
            state = self._retry(self._look)
            if state.exit is not None or state.dead:
                self._end(state)
                return
            try:
                self._follow()
            except LinkCut as error:
                self._say(f"link cut: {error}")
                self._impatient.wait(_FIRST_PAUSE)

    def _look(self) -> FarState:
        """Ask how things are there, and note what is new."""
        state = self._far.state()
        if state.place:
            self._folder.place.write(state.place.encode()[:NOTE] + b"\n")
        if 0 < state.claude < _LARGEST_PID:
            self._note_pids(state.claude)
        if state.closed and not self._folder.closed.exists():
            self._folder.closed.write(b"linger\n")
        return state

    def _follow(self) -> None:
        """Copy the journal until the connection ends, for whatever reason."""
        stream = self._far.follow(self._here())
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
        """Return whether a silent connection still stands: some are cut, and nobody says so."""
        state = self._far.state()
        if state.exit is not None or state.dead or not stream.is_heard(state):
            return False
        return state.size <= self._here() or bool(select.select([stream], [], [], _UNDER_WAY)[0])

    def _end(self, state: FarState) -> None:
        """Fetch what is left, clear up there, and only then tell the end."""
        with self._changing:
            self._has_ended = True
        if state.dead and state.claude:
            self._say("the host was killed")
            with suppress(LinkCut):
                self._far.signal(signal.SIGKILL)
        self._retry(self._fetch_rest)
        for file in (self._folder.errors, self._folder.host_errors):
            self._retry(partial(self._copy, file))
        self._retry(self._remove)
        self._finish(_LOST if state.exit is None else state.exit)

    def _fetch_rest(self) -> None:
        size = self._far.state().size
        for piece in self._far.fetch(self._folder.journal.name, self._here()):
            self._append(piece)
            if self._here() >= size:
                break
        if self._here() < size:
            raise LinkCut("the rest of the journal was cut short")

    def _copy(self, file: ExchangeFile) -> None:
        """Add a far file to the one here, once it has come whole; of a long one the beginning."""
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
        with suppress(FarFailed):  # it is gone already
            self._far.remove()

    def _here(self) -> int:
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
        """Order what is announced to be delivered; first what an earlier link has left."""
        with open(self._feed, "rb", buffering=0, closefd=False) as feed:
            known = _names(self._folder.delivered)
            while True:
                for name in _names(self._folder.announced):
                    if name not in known:
                        known[name] = None
                        self._order(partial(self._deliver, name))
                feed.readline()  # there is more

    def _deliver(self, name: str) -> None:
        end = name == END_OF_INPUT
        self._far.put(name, b"" if end else (self._folder.inbox / name).read_bytes())
        self._folder.append(self._folder.delivered, name)

    def _watch_lease(self) -> None:
        """Hold the session there for as long as somebody follows it here."""
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
                with suppress(LinkCut):  # the next connection is told
                    (self._stream.hold if held else self._stream.release)()

    def _on_terminate(self, *_: object) -> None:
        self._order(lambda: self._far.signal(signal.SIGTERM))

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.put(order)
        self._impatient.set()

    def _send(self) -> None:
        """Do what is ordered, one after the other; runs in a thread of its own."""
        while True:
            order = self._orders.get()
            try:
                self._retry(order)
            except FarFailed as error:
                with self._changing:
                    if not self._has_ended:
                        self._say(str(error))

    # --- both ways --------------------------------------------------------------------------

    def _retry(self, work: Callable[[], T]) -> T:
        """Do it until the place can be reached."""
        pause = _FIRST_PAUSE
        while True:
            try:
                return work()
            except LinkCut as error:
                # A host that has ended takes no message; its own last words are to stay the last.
                with self._changing:
                    if not self._has_ended:
                        self._say(f"link cut: {error}; trying again in {pause:g} seconds")
            self._impatient.wait(pause)
            self._impatient.clear()
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _note_pids(self, claude: int) -> None:
        if self._folder.pids() != (os.getpid(), claude):
            self._folder.write_pids(os.getpid(), claude)

    def _say(self, text: str) -> None:
        self._folder.host_errors.append(f"{text}\n".encode())


def _names(file: Path) -> dict[str, None]:
    """Return the lines of a file, in their order."""
    try:
        return dict.fromkeys(file.read_text().splitlines())
    except FileNotFoundError:
        return {}
