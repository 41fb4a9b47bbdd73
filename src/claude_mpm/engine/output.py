"""Claude's text as a file: what `process.stdout` is for every orchestrator."""

from __future__ import annotations

import io
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from claude_mpm.engine.lazy_event import Flag
from claude_mpm.wire.text_lines import TEXT_KINDS, LineAssembler, is_error

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from claude_mpm.engine.line_queue import LineQueue
    from claude_mpm.engine.live_session import LiveSession
    from claude_mpm.sessions.reader import Session
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


class Hooks(Protocol):
    """The hooks of the output, which a user may override."""

    def observe(self, event: Event) -> None:
        """Take an event after its lines were given out."""

    def is_watched(self) -> bool:
        """Return whether that means something for events that only turns and questions heed."""

    def on_idle(self) -> None:
        """Called about once a second while nothing comes."""

    def on_end(self) -> None:
        """Called once, when the output has ended and was read."""

    def on_over(self) -> None:
        """Called once after that, by whoever has read it to the end."""

    def on_failure(self, error: BaseException) -> None:
        """Called in their place by who reads no further, because of an error or `SystemExit`."""


class Occasional(Protocol):
    """Whoever reads the output as long as nobody else does."""

    def leave(self) -> None:
        """Others read as well from now on."""


class ClaudeOutput(io.TextIOBase):
    """Reads a session on demand: the lines come out, the events between them are observed.

    Whoever reads drives the session, so a slow reader is waited for and nothing piles up. It is
    read with `readline`, by iteration, or through a file descriptor, which takes over from the
    other two: what was read before it stays read, and no line comes out of both.

    Args:
        live: the session; its state is given each event before anybody observes it.
        hooks: called with each event after its lines were given out. Where nobody watches, lines
            of events that only turns and questions heed are given out with those that follow.

    Attributes:
        finished: set when all was read from the session.
        reading: held by whoever reads the session: a thread of its own, the thread that watches the
            folders (which does not wait for it), a thread in `readline`, or the one that serves the
            descriptor. It guards the journal's reader, the assembler, the state and the observers.
    """

    __slots__ = (
        "_assembler", "_descriptor", "_ended", "_holder", "_hooks", "_lot", "_lots", "_occasional",
        "_session", "_state", "finished", "reading",
    )  # fmt: skip

    # Of all outputs: hardly ever does anybody wait for it. Whoever has a line in hand, or closes
    # an output, wakes through it who waits for the descriptor; it guards nothing.
    _changed = threading.Condition()

    def __init__(self, live: LiveSession, hooks: Hooks) -> None:
        assert live.session is not None
        self._session: Session = live.session
        self._state = live.state
        self._hooks = hooks
        self._ended = False  # and the hook was called
        self._occasional: Occasional | None = None
        self._assembler = LineAssembler()
        self._lots: Generator[Sequence[str], None, None] | None = None  # once somebody reads
        self._lot: Iterator[str] = iter(())  # lines that were read and not given out
        self.reading = threading.Lock()
        self._holder: threading.Thread | None = None  # has a line in hand
        self._descriptor: int | None = None
        self.finished = Flag()

    def read_by(self, reader: Occasional) -> None:
        """Let somebody read who leaves before anybody else begins to read, or closes it."""
        self._occasional = reader

    def on_demand(self) -> None:
        """Called before anybody begins to read, or closes it."""
        if self._occasional is not None:
            self._occasional.leave()

    @property
    def handed_over(self) -> bool:
        """Whether the lines come out of the descriptor."""
        return self._descriptor is not None

    def readable(self) -> bool:
        """Always true."""
        return True

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]
        """Return the next line with its newline, waiting for it; empty after the end."""
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

    def hand_on(self, lines: LineQueue) -> None:
        """Read to the end and hand on the lines, without newlines, as many at once as there are.

        Args:
            lines: takes the lines; what it raises ends the reading.
        """
        while self._descriptor is None:
            with self.reading:
                lot = [*self._lot] or self._next_lot()
            if lot:
                self._hold(threading.current_thread())
                lines.add_all(lot)
                self._hold(None)
            elif self.finished.is_set():
                self._end()
                return
        self._wait_until_closed()

    def push(self, events: Iterable[Event], lines: LineQueue) -> None:
        """Hand on the lines of events that were read from the session; called while `reading`."""
        for lot in self._give_out(events):
            lines.add_all(lot)

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
            # From now on this thread reads the session: whoever has the descriptor only reads that.
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
            self._all_lots().close()
        self.finished.set()
        self._end()
        with self._changed:
            self._changed.notify_all()

    def _step(self) -> str | None:
        """Return the next line; None where none came for a while, or the output has ended."""
        line = next(self._lot, None)
        if line is None:
            self._lot = iter(self._next_lot())
            line = next(self._lot, None)
        return line

    def _next_lot(self) -> Sequence[str]:
        """Return the next lines; none as `_step` returns None."""
        try:
            return next(self._all_lots())
        except StopIteration:
            self.finished.set()
            return ()

    def _all_lots(self) -> Generator[Sequence[str], None, None]:
        """Return what yields all lines to whoever reads; called while `reading`."""
        if self._lots is None:
            self._lots = self._read_session()
        return self._lots

    def _read_session(self) -> Generator[Sequence[str], None, None]:
        """Yield the lines of all events; empty ones where none came for a while."""
        while not self._session.ended:
            events = self._session.read(_IDLE_INTERVAL)
            yield from self._give_out(events)
            if not events:
                self._hooks.on_idle()
                yield ()

    def _give_out(self, events: Iterable[Event]) -> Generator[Sequence[str], None, None]:
        """Yield the lines of events; what is observed is so when the lines up to it were given."""
        feed, observe, apply = self._assembler.feed, self._hooks.observe, self._state.apply
        lines: list[str] = []
        is_watched = self._hooks.is_watched()
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
            is_watched = self._hooks.is_watched()  # it may have begun a turn, or a question
        if lines:
            yield lines

    def _hold(self, thread: threading.Thread | None) -> None:
        self._holder = thread
        if self._descriptor is not None:  # somebody waits for it
            with self._changed:
                self._changed.notify_all()

    def _end(self) -> None:
        ended, self._ended = self._ended, True
        if not ended:
            self._hooks.on_end()

    def _pump(self, write: int) -> None:
        """Write the lines to the descriptor, once the line that a thread has in hand is done."""
        with self._changed:
            while self._holder is not None and self._holder.is_alive():
                self._changed.wait(0.05)
        try:
            with open(write, "wb", buffering=0) as pipe, suppress(BrokenPipeError):
                while not self.finished.is_set():
                    with self.reading:
                        line = self._step()
                    if line is not None:
                        pipe.write(line.encode() + b"\n")
        except BaseException as error:  # noqa: BLE001 -- a hook of a subclass may raise anything
            self._hooks.on_failure(error)
