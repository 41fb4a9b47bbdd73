"""The readers of every wire, and what looks for tickets, delegations and turns behind them."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from judging import Target
from samples import JSON_TOKENS, PLAIN_TEXT, STREAM_JSON, TRANSCRIPT

from claude_mpm.processors.delegations import DelegationProcessor
from claude_mpm.processors.plain_lines import PlainLinesProcessor
from claude_mpm.processors.tickets.finder import DEFAULT_MARKERS
from claude_mpm.processors.tickets.processor import TicketProcessor
from claude_mpm.processors.transcript_turns import TranscriptTurns
from claude_mpm.processors.usage import UsageProcessor
from claude_mpm.wire import WIRES
from claude_mpm.wire.framing import Line, LineBuffer, LineFramer, LineTooLong
from claude_mpm.wire.plain_text import in_pieces
from claude_mpm.wire.remote import MalformedMessage, decode, decode_start, encode
from claude_mpm.wire.text_lines import LineAssembler, reported_error

if TYPE_CHECKING:
    from claude_mpm.wire.events import Event

LIMIT = 4096
REMOTE = (
    b'{"type":"init","token":"t","protocol":1,"session":"s","follow":0}\n'
    b'{"type":"input","do":"put","id":3,"name":"000001","data":"YWJj","offset":0,"size":3}\n',
    b'{"type":"input","text":"hello","timestamp":"now"}\n{"type":"terminate","reason":"end"}\n',
    b'{"type":"output","state":{"host":1,"claude":2,"exit":0,"size":9},"journal":"YQ=="}\n',
    b'{"type":"error","error":"no","again":true}\n' + b"x" * (LIMIT + 5) + b"\n",
    b'{"folder":"/f","arguments":["-p"],"environ":{"A":"b"},"linger":30.0,"framework":"YQ=="}',
)


def chunks(data: bytes) -> list[bytes]:
    """Cut an input, always the same one at the same places."""
    random, cuts, place = Random(len(data) * 31 + sum(data[:64])), [], 0
    while place < len(data):
        size = random.choice((1, 1, 2, 3, 7, 50, 400, 1 << 14))
        cuts.append(data[place : place + size])
        place += size
    return cuts


def lines_of(pieces: list[bytes], *, together: bool = False) -> list[Line]:
    framer = LineFramer(together=together)
    lines = [line for piece in pieces for line in framer.feed(piece)]
    rest = framer.flush()
    return [*lines, rest] if rest else lines


def framing(data: bytes) -> None:
    whole, cut = lines_of([data]), lines_of(chunks(data))
    assert whole == cut, "another chunking gives other lines"
    for lines in (whole, lines_of(chunks(data), together=True)):
        end = 0
        for line in lines:
            assert line.offset == end, "bytes between two lines"
            assert data[line.offset : line.offset + len(line.data)] == line.data, "other bytes"
            assert data[line.offset + len(line.data) : line.end] in (b"\n", b""), "bytes lost"
            end = line.end
        assert end == len(data), "bytes at the end are lost"


def _events(wire: str, lines: list[Line]) -> list[Event]:
    events = []
    for line in lines:
        found = WIRES[wire].decode(line)
        assert found or not line.data.decode("utf-8", "replace").strip(), "a line without event"
        assert all(line.offset <= e.offset <= e.end <= line.end for e in found)
        # Records that share a line, with each other or with broken bytes, have each its own piece.
        assert len(found) > 1 or all(e.raw == line.data for e in found), "other bytes"
        events += found
    return events


def _process(wire: str, events: list[Event]) -> list[Event]:
    turns = TranscriptTurns("s") if wire == "transcript" else UsageProcessor("s")
    lines = PlainLinesProcessor("s", DEFAULT_MARKERS)
    processors = (turns, DelegationProcessor("s"), TicketProcessor("s"), lines)
    assembler, found = LineAssembler(), []
    for event in events:
        assert all("\n" not in line for line in assembler.feed(event)), "a line of two lines"
        reported_error(event)
        for process in processors:
            found += list(process(event))
    return [*found, *lines.finish()]


def _wire(wire: str, data: bytes) -> None:
    whole = _events(wire, lines_of([data]))
    cut = _events(wire, lines_of(chunks(data)))
    assert whole == cut, "another chunking gives other events"
    assert _process(wire, whole) == _process(wire, cut), "or finds other things"


def stream_json(data: bytes) -> None:
    _wire("stream-json", data)


def transcript(data: bytes) -> None:
    _wire("transcript", data)


def plain_text(data: bytes) -> None:
    _wire("plain-text", data)
    single = [event.data.text for event in _events("plain-text", lines_of([data]))]
    for line in lines_of(chunks(data), together=True):
        (event,) = WIRES["plain-text"].decode(line)
        pieces = in_pieces(event, 1 + len(data) % 3)
        assert b"\n".join(piece.raw for piece in pieces) == line.data, "a piece is lost"
        assert pieces[-1].end == line.end, "bytes are not accounted for"
        texts = [piece.data.text for piece in in_pieces(event, 1)]
        assert texts == single[: len(texts)], "lines that came together read differently"
        del single[: len(texts)]
    assert not single, "lines are lost"


def remote_codec(data: bytes) -> None:
    one, many = _messages([data]), _messages(chunks(data))
    assert one == many, "another chunking gives other messages"
    try:
        decode_start(data)
    except MalformedMessage as error:
        assert "\n" not in str(error)


def _messages(pieces: list[bytes]) -> list[object]:
    """Return what a connection says, up to the first thing for which it would be closed."""
    lines = LineBuffer(LIMIT)
    found: list[object] = []
    for piece in pieces:
        lines.feed(piece)
        try:
            while (line := lines.next()) is not None:
                message = decode(line)
                assert decode(encode(message)[:-1]) == message, "does not survive the way back"
                found.append(message)
        except (MalformedMessage, LineTooLong) as error:
            assert "\n" not in str(error)
            return [*found, type(error)]
    return found


TARGETS = (
    Target("wire: framing", framing, (*STREAM_JSON, *PLAIN_TEXT)),
    Target("wire: stream-json", stream_json, STREAM_JSON, JSON_TOKENS),
    Target("wire: transcript", transcript, (*TRANSCRIPT, *STREAM_JSON), JSON_TOKENS),
    Target("wire: plain-text", plain_text, PLAIN_TEXT, (b"TODO:", b"[high]", b"```", b"**", b"#a")),
    Target("remote: codec", remote_codec, REMOTE, (*JSON_TOKENS, b'"data":"')),
)
