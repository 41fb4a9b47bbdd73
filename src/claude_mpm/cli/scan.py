"""`claude-mpm tickets scan`: what would be taken from a file; nothing is kept."""

from __future__ import annotations

import json
import sys
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from claude_mpm.cli.app import App, common_options
from claude_mpm.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    from claude_mpm.wire.events import Event
    from claude_mpm.wire.framing import Line

_CHUNK = 1 << 18
# How many lines tell what kind of file it is: a journal may begin with a few that are no JSON.
_TELLING_LINES = 20


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """One ticket or delegation, and where it stands.

    Args:
        line: the line, counted from 1.
        offset: where that line begins, in bytes.
    """

    line: int
    offset: int
    found: dict[str, Any]


class Scan(msgspec.Struct):
    """What a file has in it; `kind` is "journal" or "text"."""

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
    markers = app.settings.ticket_markers
    if file == "-":
        found = scan_stream(sys.stdin.buffer, markers)
    else:
        found = _scan_file(file, markers)
    if app.json:
        app.print_json(found)
        return
    columns = ("line", "offset", "what", "of", "text")
    rows = [
        *((t["line"], t["offset"], "ticket", t["type"], t["title"]) for t in found.tickets),
        *(
            (d["line"], d["offset"], "delegation", d["agent"], d["description"] or d["prompt"])
            for d in found.delegations
        ),
    ]
    app.print_table(columns, sorted(rows, key=lambda row: row[0]))
    app.note(
        f"{found.kind}, {found.lines} lines: {len(found.tickets)} tickets,"
        f" {len(found.delegations)} delegations"
    )
