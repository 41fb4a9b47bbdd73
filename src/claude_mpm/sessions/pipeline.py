"""The processors of every session."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from claude_mpm.journal.cursor import LARGE_CHUNK, newest_lines, read_lines
from claude_mpm.journal.secrets import redactor_of
from claude_mpm.processors.delegations import DelegationProcessor
from claude_mpm.processors.redacted import Redacted
from claude_mpm.processors.usage import UsageProcessor, told_sum
from claude_mpm.processors.validated_numbers import moment
from claude_mpm.records import Spending
from claude_mpm.wire import WIRES, PlainLines, Transcript
from claude_mpm.wire.framing import LineFramer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from claude_mpm.journal.layout import Meta, SessionFolder
    from claude_mpm.records import TurnRecord
    from claude_mpm.sessions.index import Index
    from claude_mpm.wire.events import Event

    Processor = Callable[[Event], Iterable[Event]]

_MOST_TURNS = 1000  # whose results are known again where they are copied


def built_in_processors(
    meta: Meta,
    folder: SessionFolder,
    index: Index,
    start: int,
    *,
    tickets: bool | None = None,
    markers: Mapping[str, str] | None = None,
) -> list[Processor]:
    """Return the processors of every session, in the state they had at the offset `start`.

    Args:
        tickets, markers: whether tickets are found, and by which further words; None for what the
            session was started with.
    """
    tickets = meta.options.get("tickets", True) if tickets is None else tickets
    markers = meta.options.get("ticket_markers") if markers is None else markers
    session = meta.session_id
    turns = list(islice(index.newest_turns(session, before=start), _MOST_TURNS))
    made = [d for d in index.delegations(session) if d.offset < start]
    processors: list[Processor] = [
        _turn_processor(meta, folder, turns, start),
        DelegationProcessor(session, made),
    ]
    # Here, since Claude is starting beside us by now.
    from claude_mpm.processors.tickets.processor import TicketProcessor, all_markers

    if meta.wire == PlainLines.name:
        from claude_mpm.processors.plain_lines import PlainLinesProcessor

        lines = PlainLinesProcessor(session, all_markers(markers) if tickets else {})
        if start:
            _remember(lines, folder, start)
        processors.append(lines)
    elif tickets:
        processors.append(TicketProcessor(session, markers))
    return [Redacted(processors, redactor_of(folder, meta))]


def _remember(process: Processor, folder: SessionFolder, start: int) -> None:
    """Bring a processor of text to an offset: a block of code may be open there, or a ticket."""
    wire, framer = PlainLines(), LineFramer(together=True)
    with open(folder.journal.open(), "rb") as journal:
        while chunk := journal.read(min(LARGE_CHUNK, start - journal.tell())):
            for line in framer.feed(chunk):
                for event in wire.decode(line):
                    list(process(event))


def _turn_processor(
    meta: Meta, folder: SessionFolder, newest_first: Sequence[TurnRecord], start: int
) -> Processor:
    if meta.wire != Transcript.name:
        last = newest_first[0] if newest_first else None
        begun = max((s.offset for s in meta.starts if s.offset <= start), default=0)
        is_fresh = last is None or last.offset < begun  # no result yet of the process that is read
        before = last.total if last else Spending()
        before = _sum_at_start(folder, begun, start, before) if is_fresh else before
        heard = _last_heard(meta, folder, last, start)
        known = (turn.uuid for turn in newest_first)
        number = -1 if last is None or is_fresh else last.number
        return UsageProcessor(meta.session_id, meta.starts, before, heard, known, number)
    from claude_mpm.processors.transcript_turns import TranscriptTurns, primed

    turns = TranscriptTurns(meta.session_id, meta.starts)
    return primed(turns, read_lines(folder.journal), start)


def _sum_at_start(folder: SessionFolder, begun: int, start: int, before: Spending) -> Spending:
    """Return the sum of a session as its Claude reported it between its start and an offset.

    Args:
        begun: where in the journal it was started, in bytes.
        start: the offset.
        before: the sum as it was reported before.
    """
    wire = WIRES["stream-json"]
    for line in read_lines(folder.journal, begun) if begun < start else ():
        if line.offset >= start:
            break
        for event in wire.decode(line):
            if (told := told_sum(event)) is not None:
                return told if told.cost_usd < before.cost_usd else before
            if event.kind in ("assistant", "result"):  # it is asked before all that
                return before
    return before


def _last_heard(
    meta: Meta, folder: SessionFolder, last: TurnRecord | None, start: int
) -> float | None:
    """Return when Claude said something last before an offset, in seconds since the epoch."""
    wire = WIRES[meta.wire]
    if start and wire.structured:
        for line in newest_lines(folder.journal, last.end if last else 0, start):
            for event in wire.decode(line):
                if event.kind == "assistant" and event.data.timestamp:
                    return moment(event.data.timestamp)
    return last.ended_at if last else None
