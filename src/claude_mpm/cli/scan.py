"""`claude-mpm tickets scan`: what would be taken from a file; nothing is kept."""

from __future__ import annotations

import json
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import click
import msgspec

from claude_mpm.cli.app import App, common_options
from claude_mpm.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import IO

    from claude_mpm.records import Delegation
    from claude_mpm.wire.framing import Line

_CHUNK = 1 << 18
# How many lines tell what kind of file it is: a journal may begin with some that are no JSON.
_TELLING_LINES = 20


class Scan(msgspec.Struct):
    """What is in a file.

    Args:
        kind: "journal" for one JSON object a line, as in transcripts too; else "text".
        lines: how many there are.
        not_json: lines of a journal that are no JSON objects.
        tickets, delegations: each with its line, counted from 1, and where it begins in bytes.
    """

    kind: str
    lines: int = 0
    not_json: int = 0
    tickets: list[dict[str, Any]] = []
    delegations: list[dict[str, Any]] = []


@click.command()
@click.argument("file")
@common_options
@click.pass_context
def scan(context: click.Context, file: str) -> None:
    """Show what would be taken from FILE ("-": standard input), and keep nothing.

    FILE is any text, a session's journal, or a transcript of Claude Code.
    """
    app = context.ensure_object(App)
    try:
        with click.open_file(file, "rb") as stream:
            found = scan_file(stream, app.settings.ticket_markers)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror}); name a file") from error
    if app.json:
        app.print_json(found)
        return
    app.print_table(("line", "offset", "what", "of", "text"), _rows(found))
    app.note(
        f"{found.kind}, {found.lines} lines: {len(found.tickets)} tickets,"
        f" {len(found.delegations)} delegations"
    )


def scan_file(file: IO[bytes], markers: Mapping[str, str]) -> Scan:
    """Return what is in a file; what kind of file it is, its content tells."""
    lines = _lines(file)
    first = list(islice(lines, _TELLING_LINES))
    read = _scan_journal if _is_journal(first) else _scan_text
    return read(chain(first, lines), markers)


def _lines(file: IO[bytes]) -> Iterator[Line]:
    from claude_mpm.wire.framing import LineFramer

    framer = LineFramer()
    while chunk := file.read(_CHUNK):
        yield from framer.feed(chunk)
    rest = framer.flush()
    if rest is not None:
        yield rest


def _is_journal(lines: Iterable[Line]) -> bool:
    """Tell whether most lines begin with a JSON object that says what type it is of."""
    full = [line.data for line in lines if line.data.strip()]
    return 2 * sum(map(_has_type, full)) > len(full)


def _has_type(data: bytes) -> bool:
    try:
        value, _ = json.JSONDecoder().raw_decode(data.decode("utf-8", "replace").strip())
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and isinstance(value.get("type"), str)


def _scan_journal(lines: Iterable[Line], markers: Mapping[str, str]) -> Scan:
    from claude_mpm.processors.delegations import DelegationProcessor
    from claude_mpm.processors.tickets import TicketProcessor
    from claude_mpm.wire import WIRES

    processors = (TicketProcessor("", markers), DelegationProcessor(""))
    scan = Scan("journal")
    tickets: dict[str, dict[str, Any]] = {}
    delegations: dict[str, dict[str, Any]] = {}
    for scan.lines, line in enumerate(lines, start=1):
        for event in WIRES["transcript"].decode(line):
            scan.not_json += event.kind == "not-json"
            for found in chain.from_iterable(process(event) for process in processors):
                key = found.data.key
                if found.kind == "ticket":
                    tickets.setdefault(key, _ticket(found.data, scan.lines, line.offset))
                else:
                    began = delegations.get(key, {"line": scan.lines})["line"]
                    delegations[key] = _delegation(found.data, began)
    scan.tickets, scan.delegations = [*tickets.values()], [*delegations.values()]
    return scan


def _scan_text(lines: Iterable[Line], markers: Mapping[str, str]) -> Scan:
    """Scan plain text as one text, so that code blocks and continuation lines are seen."""
    from claude_mpm.processors.delegation_text import DelegationFinder
    from claude_mpm.processors.ticket_text import DEFAULT_MARKERS, TicketFinder
    from claude_mpm.processors.tickets import ticket_key

    delegations, offsets, texts = DelegationFinder(), [], []
    scan = Scan("text")
    for line in lines:
        text = line.data.decode("utf-8", "replace").rstrip("\r")
        offsets.append(line.offset)
        texts.append(text)
        if found := delegations.feed(text):
            place = {"line": len(texts), "offset": line.offset}
            task = {"agent": found.agent, "description": found.task, "source": "text"}
            scan.delegations.append({**place, **task})
    scan.lines = len(texts)
    tickets: dict[str, dict[str, Any]] = {}
    for ticket in TicketFinder({**DEFAULT_MARKERS, **markers}).find("\n".join(texts)):
        key = ticket_key("", ticket.type, ticket.title)
        tickets.setdefault(key, _ticket(ticket, ticket.line + 1, offsets[ticket.line]))
    scan.tickets = [*tickets.values()]
    return scan


def _ticket(found: Any, line: int, offset: int) -> dict[str, Any]:
    names = ("type", "title", "description", "priority", "tags")
    return {"line": line, "offset": offset, **{name: getattr(found, name) for name in names}}


def _delegation(found: Delegation, line: int) -> dict[str, Any]:
    fields = msgspec.structs.asdict(found)
    del fields["session"]
    return {"line": line, "offset": fields.pop("offset"), **fields}


def _rows(found: Scan) -> list[tuple[Any, ...]]:
    rows = [(t["line"], t["offset"], "ticket", t["type"], t["title"]) for t in found.tickets]
    rows += [
        (d["line"], d["offset"], "delegation", d["agent"], d["description"])
        for d in found.delegations
    ]
    return sorted(rows, key=lambda row: row[1])
