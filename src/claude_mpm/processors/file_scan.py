"""Tickets and delegations in any file: text, a journal, a transcript, Claude's printed output."""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.processors.delegation_text import DelegationFinder
from claude_mpm.processors.delegations import DelegationProcessor
from claude_mpm.processors.tickets.finder import DEFAULT_MARKERS, TicketFinder
from claude_mpm.processors.tickets.processor import TicketProcessor, ticket_key
from claude_mpm.wire import WIRES
from claude_mpm.wire.framing import Line, LineFramer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import IO

    from claude_mpm.processors.tickets.finder import FoundTicket
    from claude_mpm.records import Delegation
    from claude_mpm.redaction import Redactor
    from claude_mpm.wire.events import Event

_CHUNK = 1 << 18
_BOMS = (  # the longer ones first: the mark of UTF-16 begins that of UTF-32
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# A JSON document over several lines is read up to this size; a longer one is text.
_LARGEST_DOCUMENT = 64 << 20  # bytes


class Scan(msgspec.Struct):
    """The content of a file.

    Args:
        kind: "journal" where a line or a document is an event of Claude Code, else "text".
        lines: how many there are.
        not_json: lines of a journal that are no JSON; they are read as text.
        damaged: those of them that begin like JSON; they are left out.
        not_utf8: lines with bytes that are not UTF-8, which are read as replacement characters.
        encoding: what the file is written in.
        tickets, delegations: each with its line, counted from 1, and where it begins in bytes.
    """

    kind: str = "text"
    lines: int = 0
    not_json: int = 0
    damaged: int = 0
    not_utf8: int = 0
    encoding: str = "utf-8"
    tickets: list[dict[str, Any]] = []
    delegations: list[dict[str, Any]] = []

    def add(self, more: Scan, file: str) -> None:
        """Add what another file has that goes with this one; a ticket that is here stays one."""
        known = {(each["type"], each["title"].casefold()) for each in self.tickets}
        new = [t for t in more.tickets if (t["type"], t["title"].casefold()) not in known]
        self.tickets += [{**each, "file": file} for each in new]
        self.delegations += [{**each, "file": file} for each in more.delegations]

    def redacted(self, redactor: Redactor) -> Scan:
        """Return the same without secrets."""
        found = (redactor.value(self.tickets), redactor.value(self.delegations))
        return msgspec.structs.replace(self, tickets=found[0], delegations=found[1])


def scan_file(file: IO[bytes], markers: Mapping[str, str]) -> Scan:
    """Return the content of a file; each line is read by its own rule.

    Args:
        file: any bytes.
        markers: further marker words, each with its ticket type.
    """
    scanner = _FileScanner(markers)
    encoding, lines = _lines(file)
    for line in lines:
        scanner.feed(line)
    return scanner.finish(encoding)


class _FileScanner:
    """Holds what must be known of the earlier lines of a file."""

    def __init__(self, markers: Mapping[str, str]) -> None:
        self._lines = self._damaged = self._not_utf8 = 0
        self._is_journal = False
        self._processors = (TicketProcessor("", markers), DelegationProcessor(""))
        self._finder = TicketFinder({**DEFAULT_MARKERS, **markers})
        self._phrases = DelegationFinder()
        self._tickets: dict[str, dict[str, Any]] = {}
        self._delegations: dict[str, dict[str, Any]] = {}
        self._text: list[tuple[int, int]] = []  # line and offset of each line of the text at hand
        self._document: list[
            tuple[int, Line]
        ] = []  # of an unfinished JSON document over several lines
        self._size = 0
        self._plain = 0  # lines that are not JSON, without blank ones

    def feed(self, line: Line) -> None:
        """Take the next line."""
        self._lines += 1
        if self._document:
            self._gather(line)
        elif line.data.lstrip()[:1] in (b"{", b"["):
            self._take_json(line)
        else:
            self._take_text(self._lines, line)

    def finish(self, encoding: str) -> Scan:
        """Return what was found, once there are no more lines."""
        self._give_up_document()
        self._end_text()
        for delegation in self._delegations.values():
            if delegation.get("state") == "running":  # nothing follows that could end it
                delegation["state"] = "lost"
        return Scan(
            kind="journal" if self._is_journal else "text",
            lines=self._lines,
            not_json=self._plain + self._damaged if self._is_journal else 0,
            damaged=self._damaged,
            not_utf8=self._not_utf8,
            encoding=encoding,
            tickets=[*self._tickets.values()],
            delegations=[*self._delegations.values()],
        )

    def _take_json(self, line: Line) -> None:
        events = _events(line)
        if any(map(_has_type, events)):
            self._take_events(events, self._lines, line)
        elif line.data.rstrip()[-1:] in (b"{", b"[", b","):
            self._document, self._size = [(self._lines, line)], len(line.data)
        elif line.data.lstrip().startswith(b'{"'):
            self._damaged += 1
        else:
            self._take_text(self._lines, line)

    def _gather(self, line: Line) -> None:
        """Take a line of an indented document, which ends with a bracket in the first column."""
        self._document.append((self._lines, line))
        self._size += len(line.data)
        if line.data[:1] not in (b"}", b"]"):
            if self._size > _LARGEST_DOCUMENT:
                self._give_up_document()
            return
        number, first = self._document[0]
        whole = Line(first.offset, b"\n".join(part.data for _, part in self._document), line.end)
        events = _events(whole)
        if any(map(_has_type, events)):
            self._document = []
            self._take_events(events, number, whole)
        else:
            self._give_up_document()

    def _give_up_document(self) -> None:
        lines, self._document = self._document, []
        for number, line in lines:
            self._take_text(number, line)

    def _take_events(self, events: list[Event], number: int, line: Line) -> None:
        self._end_text()
        self._is_journal = True
        for event in events:
            if event.kind == "not-json":
                self._damaged += 1
            elif event.kind == "result" and event.data.result and not event.data.is_error:
                for ticket in self._finder.find(event.data.result):
                    self._keep_ticket(ticket, number, line.offset)
            for processor in self._processors:
                for derived in processor(event):
                    self._keep(derived, number, line.offset)

    def _keep(self, derived: Event, number: int, offset: int) -> None:
        if derived.kind == "ticket":
            self._keep_ticket(derived.data, number, offset)
            return
        began = self._delegations.get(derived.data.key, {"line": number})["line"]
        self._delegations[derived.data.key] = _delegation(derived.data, began)

    def _keep_ticket(self, ticket: Any, number: int, offset: int) -> None:
        key = ticket_key("", ticket.type, ticket.title)
        names = ("type", "title", "description", "priority", "tags")
        fields = {name: getattr(ticket, name) for name in names}
        agent = getattr(ticket, "agent", "")
        self._tickets.setdefault(key, {"line": number, "offset": offset, **fields, "agent": agent})

    def _take_text(self, number: int, line: Line) -> None:
        text = line.data.decode("utf-8", "replace").rstrip("\r")
        if text.strip():
            self._plain += 1
            self._not_utf8 += "\ufffd" in text and not _is_utf8(line.data)
        self._text.append((number, line.offset))
        self._keep_text(self._finder.feed(text))
        if phrase := self._phrases.feed(text):
            place = {"line": number, "offset": line.offset}
            task = {"agent": phrase.agent, "description": phrase.task, "source": "text"}
            self._delegations[f"{number}"] = {**place, **task}

    def _end_text(self) -> None:
        self._keep_text(self._finder.flush())
        self._text.clear()

    def _keep_text(self, tickets: Iterable[FoundTicket]) -> None:
        for ticket in tickets:
            self._keep_ticket(ticket, *self._text[ticket.line])


def _events(line: Line) -> list[Event]:
    """Return the events of Claude Code in one line or document; other text is "not-json"."""
    decoded = WIRES["transcript"].decode(line)
    if not decoded or line.data.lstrip()[:1] != b"[":
        # A JSON object without a type is not from Claude Code.
        return decoded if any(map(_has_type, decoded)) else []
    try:
        values = json.loads(line.data)
    except (ValueError, RecursionError):
        return decoded
    pieces = [json.dumps(value).encode() for value in values if isinstance(value, dict)]
    lines = [Line(line.offset, piece, line.end) for piece in pieces]
    return [event for event in WIRES["transcript"].decode_all(lines) if _has_type(event)]


def _has_type(event: Event) -> bool:
    if event.kind == "unknown":
        return isinstance(event.data.fields.get("type"), str)
    return event.kind != "not-json"


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _lines(file: IO[bytes]) -> tuple[str, Iterator[Line]]:
    """Return what a file is written in, and its lines in UTF-8, each with its place in the file."""
    chunk = file.read(_CHUNK)
    mark, encoding = _encoding(chunk)
    offset, chunk = len(mark), chunk[len(mark) :]
    if encoding == "utf-8":
        return encoding, _utf8_lines(file, chunk, offset)
    return encoding, _decoded_lines(file, chunk, offset, encoding)


def _utf8_lines(file: IO[bytes], chunk: bytes, offset: int) -> Iterator[Line]:
    framer = LineFramer(offset)
    while chunk:
        yield from framer.feed(chunk)
        chunk = file.read(_CHUNK)
    yield from filter(None, [framer.flush()])


def _decoded_lines(file: IO[bytes], chunk: bytes, offset: int, encoding: str) -> Iterator[Line]:
    framer, decoder = LineFramer(), codecs.getincrementaldecoder(encoding)("replace")
    ended = False
    while not ended:
        ended = not chunk
        lines = framer.feed(decoder.decode(chunk, ended).encode("utf-8", "replace"))
        for line in [*lines, *filter(None, [framer.flush() if ended else None])]:
            text = line.data.decode("utf-8", "replace") + "\n"
            yield Line(offset, line.data, offset + len(text.encode(encoding)))
            offset += len(text.encode(encoding))
        chunk = b"" if ended else file.read(_CHUNK)


def _encoding(data: bytes) -> tuple[bytes, str]:
    """Return the mark at the beginning of a file, and what the file is written in."""
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return mark, encoding
    head = data[:1000]
    first, second = head[::2].count(0), head[1::2].count(0)
    # Most letters have an empty half, and always the same one; zeros alone are a crash's.
    if first + second > len(head) // 3 and min(first, second) * 8 < max(first, second):
        return b"", "utf-16-le" if second > first else "utf-16-be"
    return b"", "utf-8"


def _delegation(delegation: Delegation, line: int) -> dict[str, Any]:
    fields = msgspec.structs.asdict(delegation)
    del fields["session"]
    return {"line": line, "offset": fields.pop("offset"), **fields}
