"""The core: one journal read to its end through one pipeline."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

from claude_mpm.errors import StorageError
from claude_mpm.index import Position
from claude_mpm.journal.cursor import LARGE_CHUNK, Cursor, read_lines
from claude_mpm.journal.watch import subscribe
from claude_mpm.processors.delegations import DelegationProcessor
from claude_mpm.processors.redacted import Redacted
from claude_mpm.processors.usage import UsageProcessor
from claude_mpm.redaction import Redactor
from claude_mpm.wire import WIRES, PlainLines, Transcript
from claude_mpm.wire.framing import LineFramer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from claude_mpm.index import Index
    from claude_mpm.journal.layout import Meta, SessionFolder
    from claude_mpm.records import TurnRecord
    from claude_mpm.wire import Wire
    from claude_mpm.wire.events import Event
    from claude_mpm.wire.framing import Line

    Processor = Callable[[Event], Iterable[Event]]
    Sink = Callable[[Event], None]

# How often, in seconds, it is checked whether a silent host is still alive.
LIVENESS_INTERVAL = 1.0
# The kinds of event that processors make and the index keeps.
FOUND = frozenset({"ticket", "delegation", "turn", "cost"})


class Session:
    """Reads a session's journal: bytes, lines, events, processors, index, sinks, in that order.

    Args:
        folder: the session's folder, with its journal.
        wire: how the journal is read.
        index: where what is found is kept.
        processors: functions that make further events of an event.
        sinks: functions that are given every event.
        start: where to read from, in bytes; where the index has come to if it is None. What the
            index knows already is given out again, but neither counted nor kept again.
        is_over: tells that nothing will be written to the journal any more.
        keeps: whether what is found goes to the index.
        joins: whether an event may stand for several lines, where nobody but us sees it.

    Attributes:
        failure: why nothing more is kept in the index; what was read is given out all the same.
    """

    def __init__(
        self,
        folder: SessionFolder,
        wire: Wire,
        index: Index,
        *,
        processors: Sequence[Processor] = (),
        sinks: Sequence[Sink] = (),
        start: int | None = None,
        is_over: Callable[[], bool] = lambda: True,
        keeps: bool = True,
        joins: bool = False,
    ) -> None:
        self.folder = folder
        self.ended = False
        self.failure: StorageError | None = None
        self._wire = wire
        self._index = index
        self._processors = processors
        self._sinks = sinks
        self._by_kind: dict[str, Sequence[Processor]] = {}
        # Nobody but our own processors sees the events, and these take several lines at once.
        ours = not sinks and all(hasattr(process, "kinds") for process in processors)
        self._together = ours and joins and wire.joins
        self.position = index.position(folder.path.name)
        self._is_over = is_over
        self._keeps = keeps
        begin = self.position.cursor if start is None else start
        self._cursor = Cursor(folder.journal, begin, together=self._together)
        self._changes = subscribe(folder.path)
        self._let_go = False
        # A host says that it is over by a file that it renames; only then, and once in a while in
        # case it died, is it asked.
        self._may_be_over = True

    def read(self, timeout: float) -> list[Event]:
        """Return the next events; empty where nothing came for `timeout` seconds, or at the end.

        Only one thread reads a session. `ended` turns true with the last events.
        """
        deadline = time.monotonic() + timeout
        while not self.ended:
            if self._let_go:
                self.ended = True
                break
            lines = self._cursor.read()
            if not lines and self._may_be_over and self._is_over():
                lines = self._cursor.read() or self._finish()
            if lines or self.ended:
                return self._process(lines)
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                break
            self._may_be_over = self._changes.wait(min(remaining, LIVENESS_INTERVAL))
        return []

    def catch_up(self) -> None:
        """Read what the journal holds now, without waiting for more.

        Raises:
            StorageError: the index could not be written.
        """
        while lines := self._cursor.read():
            self._process(lines)
        if self._is_over():
            self._process(self._finish())
        if self.failure is not None:
            raise self.failure

    def let_go(self) -> None:
        """Read no more, from any thread, though there may be more to come; `ended` turns true."""
        self._let_go = True
        self.wake()

    def wake(self) -> None:
        """End a `read` that waits, from any thread."""
        self._changes.wake()

    def close(self) -> None:
        """Let go of the journal; safe to call twice."""
        self._cursor.close()
        self._changes.close()

    def _finish(self) -> list[Line]:
        self.ended = True
        rest = self._cursor.rest()
        return [rest] if rest else []

    def _process(self, lines: Sequence[Line]) -> list[Event]:
        decode = self._wire.decode
        decoded = [event for line in lines for event in decode(line)]
        events: list[Event] = []
        made: list[Event] = []
        for event in decoded:
            events.append(event)
            for process in self._wanting(event.kind):
                if found := process(event):
                    before = len(events)
                    events += found
                    made += events[before:]
        finished = self._finish_processors() if self.ended else []
        self._keep(lines, decoded, made, finished)
        events += finished
        for sink in self._sinks:
            for event in events:
                sink(event)
        return events

    def _wanting(self, kind: str) -> Sequence[Processor]:
        """Return the processors that want events of a kind; those that do not tell want all."""
        wanting = self._by_kind.get(kind)
        if wanting is None:
            kinds = [getattr(process, "kinds", None) for process in self._processors]
            both = zip(self._processors, kinds, strict=True)
            wanting = [process for process, wanted in both if wanted is None or kind in wanted]
            self._by_kind[kind] = wanting
        return wanting

    def _finish_processors(self) -> list[Event]:
        finishers = [getattr(process, "finish", None) for process in self._processors]
        return [event for finish in finishers if finish for event in finish()]

    def _keep(
        self,
        lines: Sequence[Line],
        decoded: Sequence[Event],
        made: Sequence[Event],
        finished: Sequence[Event],
    ) -> None:
        """Count what is new, and tell the index when something was found and at the end."""
        before = self.position
        end = lines[-1].end if lines else self._cursor.offset
        if not self._keeps or (end <= before.cursor and not self.ended):
            return
        if self._together:
            events = sum(_lines_behind(line, before.cursor) for line in lines)
        else:
            events = len(decoded)
        if lines and lines[0].offset < before.cursor:  # a part of it is known
            decoded = [event for event in decoded if event.offset >= before.cursor]
            events = events if self._together else len(decoded)
            made = [event for event in made if event.offset >= before.cursor]
        found = [event for event in made if event.kind in FOUND]
        turns = [event.data for event in found if event.kind == "turn"]
        costs = [event.data for event in found if event.kind in ("turn", "cost")]
        not_json = sum([event.kind == "not-json" for event in decoded])
        self.position = Position(
            cursor=max(end, before.cursor),
            events=before.events + events,
            not_json=before.not_json + not_json,
            total_cost_usd=costs[-1].total_cost_usd if costs else before.total_cost_usd,
            cost_usd=before.cost_usd + sum(cost.cost_usd for cost in costs),
            turns=before.turns + len(turns),
        )
        if found or not_json or self.ended:
            # What the end brought out begins before the cursor, and is new all the same.
            self._store([*found, *finished])

    def _store(self, found: Sequence[Event]) -> None:
        try:
            self._index.store(self.folder.path.name, found, self.position)
        except StorageError as error:
            # The journal has it all, and whoever catches up begins at what was kept last. To keep
            # what comes later would hide the gap.
            self.failure = error
            self._keeps = False


def _lines_behind(line: Line, offset: int) -> int:
    """Return how many of the lines that were read together begin at an offset or behind it."""
    known = max(0, offset - line.offset)
    return line.data.count(b"\n", known) + (known <= len(line.data))


def built_in_processors(
    meta: Meta,
    folder: SessionFolder,
    index: Index,
    start: int,
    *,
    tickets: bool = True,
    markers: Mapping[str, str] | None = None,
) -> list[Processor]:
    """Return the processors of every session, in the state they had at the offset `start`."""
    session = meta.session_id
    last = next(index.newest_turns(session, before=start), None)
    running = [d for d in index.delegations(session, state="running") if d.offset < start]
    processors: list[Processor] = [
        _turn_processor(meta, folder, last, start),
        DelegationProcessor(session, running),
    ]
    if tickets:
        # Its patterns take time to compile, and by now Claude is starting beside us.
        from claude_mpm.processors.tickets import TicketProcessor

        processors.append(TicketProcessor(session, markers))
    if start and meta.wire == PlainLines.name:
        _remember(processors, folder, start)
    redactor = Redactor(meta.secrets, meta.claude_session_id)
    return [Redacted(process, redactor) for process in processors]


def _remember(processors: Sequence[Processor], folder: SessionFolder, start: int) -> None:
    """Bring processors of text to an offset: a block of code may be open there, or a ticket."""
    wire, framer = PlainLines(), LineFramer(together=True)
    with folder.journal.open("rb") as journal:
        while chunk := journal.read(min(LARGE_CHUNK, start - journal.tell())):
            for line in framer.feed(chunk):
                for event in wire.decode(line):
                    for process in processors:
                        list(process(event))


def _turn_processor(
    meta: Meta, folder: SessionFolder, last: TurnRecord | None, start: int
) -> Processor:
    if meta.wire != Transcript.name:
        total = last.total_cost_usd if last else 0.0
        return UsageProcessor(meta.session_id, meta.starts, total)
    from claude_mpm.processors.transcript_turns import TranscriptTurns, primed

    turns = TranscriptTurns(meta.session_id, meta.starts)
    return primed(turns, read_lines(folder.journal), start)


def open_beside(folder: SessionFolder, index: Index, start: int, *, follow: bool = True) -> Session:
    """Open a session for one more reader beside the one that keeps: nothing goes to the index.

    Args:
        start: the byte to start at: 0, or the `end` of an event.
        follow: whether the end is that of the session, or of what the journal holds now.
    """
    meta = folder.read_meta()
    return Session(
        folder,
        WIRES[meta.wire],
        index,
        processors=built_in_processors(meta, folder, index, start),
        start=start,
        is_over=folder.has_ended if follow else (lambda: True),
        keeps=False,
    )


def read_events(
    folder: SessionFolder, index: Index, *, since: int = 0, follow: bool = False
) -> Iterator[Event]:
    """Yield the events of a session's journal and what is found in them, as `open_beside` does."""
    with closing(open_beside(folder, index, since, follow=follow)) as reader:
        while not reader.ended:
            yield from reader.read(LIVENESS_INTERVAL)
