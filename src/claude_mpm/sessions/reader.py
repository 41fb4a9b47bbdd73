"""The core: one journal read to its end through one pipeline."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Protocol

from claude_mpm.errors import StorageError
from claude_mpm.journal.cursor import Cursor, read_lines
from claude_mpm.journal.folder_watch import Subscription, subscribe
from claude_mpm.processors.dispatch import finish_all, takers
from claude_mpm.sessions.pipeline import built_in_processors
from claude_mpm.sessions.state import DELIVERY, delivered
from claude_mpm.wire import WIRES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from claude_mpm.journal.durability import JournalSync
    from claude_mpm.journal.folder_watch import ChangeHandler
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.sessions.index import Index
    from claude_mpm.wire import Wire
    from claude_mpm.wire.events import Event
    from claude_mpm.wire.framing import Line

    Processor = Callable[[Event], Iterable[Event]]
    Sink = Callable[[Sequence[Event]], None]
    # Lines, what they say, that with what was made of it, and that alone.
    Found = tuple[Sequence[Line], Sequence[Event], list[Event], Sequence[Event]]

# How often, in seconds, it is checked whether a silent host is still alive.
LIVENESS_INTERVAL = 1.0
# The kinds of event that processors make and the index keeps.
FOUND = frozenset({"ticket", "delegation", "turn", "cost"})
# The kinds of event of a journal with which the disk has something to do.
_TO_DISK = frozenset({"result", "not-json"})


class Source(Protocol):
    """What writes a journal, as who reads it sees it."""

    def check_end(self) -> bool:
        """Check whether nothing more will be written."""

    def recover(self) -> bool:
        """Begin to write again, if that can be; return whether more is to come."""


class Written:
    """Nothing: the journal is read as it stands."""

    def check_end(self) -> bool:
        """Return that nothing more will be written."""
        return True

    def recover(self) -> bool:
        """Return that nothing is to come."""
        return False


class Unfinished(Written):
    """Somebody: what stands in the journal now is read, and no more."""

    def check_end(self) -> bool:
        """Return that more will be written."""
        return False


class Growing(Written):
    """Whoever reads the journal also writes it, until that is closed."""

    def __init__(self) -> None:
        self._closed = False

    def check_end(self) -> bool:
        """Return whether it was closed."""
        return self._closed

    def close(self) -> None:
        """Write no more."""
        self._closed = True


class Hosted(Written):
    """The host of a session that others control.

    Args:
        folder: the session's.
    """

    def __init__(self, folder: SessionFolder) -> None:
        self._folder = folder

    def check_end(self) -> bool:
        """Return whether it has ended."""
        return self._folder.has_ended()


class Session:
    """Reads a session's journal: bytes, lines, events, processors, index, sinks, in that order.

    Args:
        folder: the session's folder, with its journal.
        wire: how the journal is read.
        index: where what is found is kept.
        processors: functions that make further events of an event.
        sinks: functions that are given all events, as many at once as were read.
        start: where to read from, in bytes; where the index has come to if it is None. What the
            index knows already is given out again, but neither counted nor kept again.
        source: what writes the journal.
        keeps: whether what is found goes to the index.
        joins: whether an event may stand for several lines, where nobody but us sees it.
        sync: brings what was read to the disk before any of it is kept or handed on.
        waits: whether it is waited for more, and so for changes of the folder.

    Attributes:
        begin: where it was read from, in bytes.
        more: whether there was more than the last `poll` returned.
        failure: why nothing more is kept in the index; what was read is given out anyway.
    """

    __slots__ = (
        "_by_kind", "_changes", "_cursor", "_held", "_index", "_keeps", "_let_go",
        "_may_have_ended", "_processors", "_said", "_sinks", "_source", "_sync", "_together",
        "_wire", "begin", "ended", "failure", "folder", "more", "position",
    )  # fmt: skip

    def __init__(
        self,
        folder: SessionFolder,
        wire: Wire,
        index: Index,
        *,
        processors: Sequence[Processor] = (),
        sinks: Sequence[Sink] = (),
        start: int | None = None,
        source: Source | None = None,
        keeps: bool = True,
        joins: bool = False,
        sync: JournalSync | None = None,
        waits: bool = True,
    ) -> None:
        self.folder = folder
        self.ended = self.more = False
        self.failure: StorageError | None = None
        self._wire = wire
        self._index = index
        self._processors = processors
        self._sinks = sinks
        self._by_kind: dict[str, Sequence[Processor]] = {}
        # Nobody but our own processors sees the events, and these take several lines at once.
        ours = not sinks and all(hasattr(process, "taker") for process in processors)
        self._together = ours and joins and wire.joins
        self.position = index.position(folder.path.name)
        self._source = source or Written()
        self._keeps = keeps
        self._sync = sync
        self._held: Found | None = None
        self._said: dict[str, tuple[float, str]] = {}  # not in the index yet
        begin = self.position.cursor if start is None else start
        self.begin = begin
        self._cursor = Cursor(folder.journal, begin, together=self._together)
        self._changes = subscribe(folder.exchange) if waits else Subscription()
        self._let_go = False
        # A host says that it has ended by a file that it renames; only then, and once in a while in
        # case it died, is it asked.
        self._may_have_ended = True

    def read(self, timeout: float) -> list[Event]:
        """Return the next events; empty where nothing came for `timeout` seconds, or at the end.

        Only one thread reads a session. `ended` turns true with the last events.
        """
        held, self._held = self._held, None
        if held is not None:
            return self._settle(*held)
        deadline = time.monotonic() + timeout
        while not self.ended:
            if self._let_go:
                self.ended = True
                break
            lines = self._cursor.read()
            if not lines and self._may_have_ended and self._source.check_end():
                lines = self._cursor.read()
                if not lines and not self._source.recover():
                    lines = self._finish()
            if lines or self.ended:
                return self._process(lines)
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                break
            self._may_have_ended = self._changes.wait(min(remaining, LIVENESS_INTERVAL))
        return []

    def poll(self) -> list[Event] | None:
        """Return the next events that are there, as `read` does; None where that may block.

        It may where something is to be kept, or synced, and at the end: `read` goes on there.
        """
        if self._held is not None or self._let_go:
            return None
        lines = self._cursor.read()
        self.more = self._cursor.more
        if not lines:
            return []
        found = self._find(lines)
        _, decoded, events, made = found
        if made or not _TO_DISK.isdisjoint([event.kind for event in decoded]):
            self._held = found
            return None
        self._count(lines, decoded)
        return events

    def unread(self) -> Iterator[Event]:
        """Yield the events of whole lines that were not read yet, and stay so; from any thread."""
        for line in read_lines(self.folder.journal, self._cursor.offset):
            if line.end > line.offset + len(line.data):
                yield from self._wire.decode(line)

    @property
    def can_be_served(self) -> bool:
        """Whether the watching thread hears of what the session's host does."""
        return not self._changes.polls

    def serve(self, handler: ChangeHandler | None) -> None:
        """Let the watching thread call a handler at each change; None ends that.

        Meanwhile nobody calls `read`.
        """
        self._may_have_ended = True
        self._changes.set_handler(handler)

    def catch_up(self) -> Iterator[None]:
        """Read what the journal holds now, without waiting for more; yield after each part.

        Raises:
            StorageError: the index could not be written.
        """
        while lines := self._cursor.read():
            self._process(lines)
            yield
        if self._source.check_end():
            self._process(self._finish())
        if self.failure is not None:
            raise self.failure

    def fail(self, failure: StorageError) -> None:
        """Note why nothing more is kept."""
        self.failure = failure

    def let_go(self) -> None:
        """Read no more, from any thread, though there may be more to come; `ended` turns true."""
        self._let_go = True
        self.wake()

    def wake(self) -> None:
        """End a `read` that waits, from any thread."""
        self._changes.wake()

    def close(self) -> None:
        """Close the journal; safe to call twice."""
        self._cursor.close()
        self._changes.close()

    def _finish(self) -> list[Line]:
        self.ended = True
        rest = self._cursor.rest()
        return [rest] if rest else []

    def _process(self, lines: Sequence[Line]) -> list[Event]:
        return self._settle(*self._find(lines))

    def _find(self, lines: Sequence[Line]) -> Found:
        """Decode lines, and return what they say and what is made of it."""
        decoded = self._wire.decode_all(lines)
        events: list[Event] = []
        made: list[Event] = []
        by_kind = self._by_kind
        for event in decoded:
            events.append(event)
            takes = by_kind.get(event.kind)
            if takes is None:
                takes = by_kind[event.kind] = takers(self._processors, event.kind)
            for take in takes:
                if found := take(event):
                    before = len(events)
                    events += found
                    made += events[before:]
        return lines, decoded, events, made

    def _settle(
        self,
        lines: Sequence[Line],
        decoded: Sequence[Event],
        events: list[Event],
        made: Sequence[Event],
    ) -> list[Event]:
        """Keep what was found, and return all events."""
        if self._sync is not None:
            self._sync(decoded)
            self.failure = self.failure or self._sync.failure
        finished = finish_all(self._processors) if self.ended else []
        self._keep(lines, decoded, made, finished)
        events += finished
        for sink in self._sinks:
            sink(events)
        return events

    def _keep(
        self,
        lines: Sequence[Line],
        decoded: Sequence[Event],
        made: Sequence[Event],
        finished: Sequence[Event],
    ) -> None:
        """Count what is new, and write to the index when something was found and at the end."""
        position = self.position
        known, not_json = position.cursor, position.not_json
        if not self._keeps or (self._cursor.offset <= known and not self.ended):
            return
        self._count(lines, decoded)
        found = [event for event in _behind(known, lines, made) if event.kind in FOUND]
        for event in found:
            if event.kind in ("turn", "cost"):
                position.add(event)
        if found or self.ended or position.not_json > not_json:
            # What the end brought out begins before the cursor, and is new anyway.
            self._store([*found, *finished])

    def _count(self, lines: Sequence[Line], decoded: Sequence[Event]) -> None:
        """Count what is new of what was read last."""
        position = self.position
        known, end = position.cursor, self._cursor.offset
        if not self._keeps or end <= known:
            return
        new = _behind(known, lines, decoded)
        number = len(new)
        if self._together:  # also lines of an event that begins before
            number = sum(_lines_behind(event, known) for event in decoded)
        not_json = 0
        for event in new:
            if event.kind in DELIVERY:
                name, word = delivered(event)
                self._said[name] = (event.offset, word)
            elif event.kind == "not-json":
                not_json += 1
        position.advance(end, events=number, not_json=not_json)

    def _store(self, found: Sequence[Event]) -> None:
        said, self._said = self._said, {}
        try:
            self._index.store(self.folder.path.name, found, self.position, said)
        except StorageError as error:
            # The journal has it all, and whoever catches up begins at what was kept last. To keep
            # what comes later would hide the gap.
            self.failure = error
            self._keeps = False


def _behind(offset: int, lines: Sequence[Line], events: Sequence[Event]) -> Sequence[Event]:
    """Return those events of lines that begin at an offset or behind it; mostly that is all."""
    if lines and lines[0].offset < offset:
        return [event for event in events if event.offset >= offset]
    return events


def _lines_behind(event: Event, offset: int) -> int:
    """Return how many of the lines that were read together begin at an offset or behind it."""
    known = offset - event.offset
    if known <= 0:
        return len(event.data.lines)
    return event.raw.count(b"\n", known) + (known <= len(event.raw))


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
        source=Hosted(folder) if follow else None,
        keeps=False,
    )


def read_events(
    folder: SessionFolder, index: Index, *, since: int = 0, follow: bool = False
) -> Iterator[Event]:
    """Yield the events of a session's journal and what is found in them, as `open_beside` does."""
    with closing(open_beside(folder, index, since, follow=follow)) as reader:
        while not reader.ended:
            yield from reader.read(LIVENESS_INTERVAL)
