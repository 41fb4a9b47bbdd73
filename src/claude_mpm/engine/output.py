"""Claude's text as a file: what `process.stdout` is for every orchestrator."""

from __future__ import annotations

import io
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from claude_mpm.engine.lazy_event import Flag
from claude_mpm.wire.text_lines import TEXT_KINDS, LineAssembler, is_error

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from claude_mpm.sessions.reader import Session
    from claude_mpm.sessions.state import SessionState
    from claude_mpm.wire.events import Event

# How often, in seconds, `on_idle` is called while nothing comes.
_IDLE_INTERVAL = 1.0
# The kinds of event that nobody need observe while nobody watches.
_UNWATCHED = frozenset(
    {
        "assistant", "command_lifecycle", "delegation", "not-json", "result", "stream_event",
        "text", "ticket", "user",
    }
)  # fmt: skip


class ClaudeOutput(io.TextIOBase):
    """Reads a session on demand: the lines come out, the events between them are observed.

    Whoever reads drives the session, so a slow reader is waited for and nothing piles up. It is
    read with `readline`, by iteration, or through a file descriptor, which takes over from the
    other two: what was read before it stays read, and no line comes out of both.

    Args:
        session: what is read.
        state: given each event before anybody observes it.
        observe: called with each event after its lines were given out.
        is_watched: whether that means something for events that only turns and questions heed;
            where it does not, their lines are given out together with those that follow.
        on_idle: called about once a second while nothing comes.
        on_end: called once, when the output is over and was read.

    Attributes:
        finished: set when all was read from the session.
        reading: held by whoever reads the session.
        on_demand: called before anybody begins to read, or closes it.
    """

    # Of all outputs: hardly ever does anybody wait for it.
    _changed = threading.Condition()

    def __init__(
        self,
        session: Session,
        state: SessionState,
        *,
        observe: Callable[[Event], None],
        is_watched: Callable[[], bool],
        on_idle: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        self._session = session
        self._state = state
        self._observe = observe
        self._is_watched = is_watched
        self._on_idle = on_idle
        self._on_end = on_end
        self.on_demand: Callable[[], None] = _nothing
        self._assembler = LineAssembler()
        self._lots = self._read_session()
        self._lot: Iterator[str] = iter(())  # lines that were read and not given out
        self.reading = threading.Lock()
        self._holder: threading.Thread | None = None  # has a line in hand
        self._descriptor: int | None = None
        self.finished = Flag()

    @property
    def handed_over(self) -> bool:
        """Whether the lines come out of the descriptor."""
        return self._descriptor is not None

    def readable(self) -> bool:
        """Always true."""
        return True

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]
        """Return the next line with its newline, waiting for it; empty once the output is over."""
        self.on_demand()
        self._hold(None)
        while self._descriptor is None:
            with self.reading:
                line = self._step()
            if line is not None:
                self._hold(threading.current_thread())
                return line + "\n"
            if self.finished.is_set():
                self._end()
                return ""
        self._wait_until_closed()
        return ""

    def hand_on(self, take: Callable[[Sequence[str]], None]) -> None:
        """Read to the end and hand on the lines, without newlines, as many at once as there are.

        Args:
            take: called with the lines; what it raises ends the reading.
        """
        while self._descriptor is None:
            with self.reading:
                lines = [*self._lot] or self._next_lot()
            if lines:
                self._hold(threading.current_thread())
                take(lines)
                self._hold(None)
            elif self.finished.is_set():
                self._end()
                return
        self._wait_until_closed()

    def push(self, events: Iterable[Event], take: Callable[[Sequence[str]], None]) -> None:
        """Hand on the lines of events that were read from the session; called while `reading`."""
        for lines in self._give_out(events):
            take(lines)

    def finish(self) -> None:
        """Called when all was read, and handed on with `push`."""
        self.finished.set()
        self._end()

    def _wait_until_closed(self) -> None:
        """Wait, once the lines come out of the descriptor."""
        with self._changed:
            self._changed.wait_for(lambda: self.closed)

    def __next__(self) -> str:  # type: ignore[override]
        """Return the next line, as iteration over a file does."""
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def fileno(self) -> int:
        """Return a descriptor that the lines come out of from now on; `close` closes it."""
        if self._descriptor is None:
            self.on_demand()
            if self._holder is threading.current_thread():
                self._hold(None)
            self._descriptor, write = os.pipe()
            self._session.wake()
            threading.Thread(
                target=self._pump, args=(write,), name="claude-mpm-pump", daemon=True
            ).start()
        return self._descriptor

    def close(self) -> None:
        """Close the descriptor, and end the reading where it is; safe to call twice."""
        if self.closed:
            return
        self.on_demand()
        super().close()
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor is not None and descriptor >= 0:
            os.close(descriptor)
        self._session.wake()
        with self.reading:
            self._lots.close()
        self.finished.set()
        self._end()
        with self._changed:
            self._changed.notify_all()

    def _step(self) -> str | None:
        """Return the next line; None where none came for a while, or the output is over."""
        line = next(self._lot, None)
        if line is None:
            self._lot = iter(self._next_lot())
            line = next(self._lot, None)
        return line

    def _next_lot(self) -> Sequence[str]:
        """Return the next lines; none as `_step` returns None."""
        try:
            return next(self._lots)
        except StopIteration:
            self.finished.set()
            return ()

    def _read_session(self) -> Generator[Sequence[str], None, None]:
        """Yield the lines of all events; empty ones where none came for a while."""
        while not self._session.ended:
            events = self._session.read(_IDLE_INTERVAL)
            yield from self._give_out(events)
            if not events:
                self._on_idle()
                yield ()

    def _give_out(self, events: Iterable[Event]) -> Generator[Sequence[str], None, None]:
        """Yield the lines of events; what is observed is so when the lines up to it were given."""
        feed, observe, apply = self._assembler.feed, self._observe, self._state.apply
        lines: list[str] = []
        is_watched = self._is_watched()
        for event in events:
            kind = event.kind
            if kind in TEXT_KINDS:
                lines += feed(event)
            if not is_watched and kind in _UNWATCHED and not is_error(event):
                apply(event)
                continue
            if lines:
                yield lines
                lines = []
            apply(event)
            observe(event)
            is_watched = self._is_watched()  # it may have begun a turn, or a question
        if lines:
            yield lines

    def _hold(self, thread: threading.Thread | None) -> None:
        self._holder = thread
        if self._descriptor is not None:  # somebody waits for it
            with self._changed:
                self._changed.notify_all()

    def _end(self) -> None:
        on_end, self._on_end = self._on_end, _nothing
        on_end()

    def _pump(self, write: int) -> None:
        """Write the lines to the descriptor, once the line that a thread has in hand is done."""
        with self._changed:
            while self._holder is not None and self._holder.is_alive():
                self._changed.wait(0.05)
        with open(write, "wb", buffering=0) as pipe, suppress(BrokenPipeError):
            while not self.finished.is_set():
                with self.reading:
                    line = self._step()
                if line is not None:
                    pipe.write(line.encode() + b"\n")


def _nothing() -> None:
    pass
