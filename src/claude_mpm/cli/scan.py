"""`claude-mpm tickets scan`: what would be taken from a file; nothing is kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from claude_mpm.cli.app import App, common_options
from claude_mpm.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from claude_mpm.processors.file_scan import Scan


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
        found = _scan(file, app.settings.ticket_markers)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror}); name a file") from error
    found.tickets = app.redactor.value(found.tickets)
    found.delegations = app.redactor.value(found.delegations)
    if app.json:
        app.print_json(found)
        return
    app.print_table(("line", "offset", "what", "of", "text"), _rows(found))
    for remark in _remarks(found):
        app.note(remark)


def _scan(file: str, markers: Mapping[str, str]) -> Scan:
    """Return what is in a file, and in the files of the subagents beside a transcript."""
    from claude_mpm.processors.file_scan import scan_file

    with click.open_file(file, "rb") as stream:
        found = scan_file(stream, markers)
    for path in subagent_files(Path(file)):
        with path.open("rb") as stream:
            more = scan_file(stream, markers)
        known = {(each["type"], each["title"].casefold()) for each in found.tickets}
        new = [t for t in more.tickets if (t["type"], t["title"].casefold()) not in known]
        found.tickets += [{**each, "file": str(path)} for each in new]
        found.delegations += [{**each, "file": str(path)} for each in more.delegations]
    return found


def subagent_files(transcript: Path) -> list[Path]:
    """Return where Claude Code keeps what the subagents of a conversation said."""
    folder = transcript.with_suffix("") / "subagents"
    return sorted(path for path in folder.glob("*.jsonl") if path.is_file())


def _remarks(found: Scan) -> Iterator[str]:
    """Yield what is to be known of how the file was read."""
    yield (
        f"{found.kind}, {found.lines} lines: {len(found.tickets)} tickets,"
        f" {len(found.delegations)} delegations"
    )
    if found.encoding != "utf-8":
        yield f"the file is {found.encoding.upper()}"
    if found.not_utf8:
        yield (
            f"{found.not_utf8} lines are not UTF-8: what cannot be read is shown as \ufffd;"
            " convert the file first, as with iconv -f CP1252 -t UTF-8"
        )
    if plain := found.not_json - found.damaged:
        yield f"{plain} lines are no JSON: they were read as text"
    if found.damaged:
        yield f"{found.damaged} lines are damaged JSON: they were left out"


def _rows(found: Scan) -> list[tuple[Any, ...]]:
    rows = [(t["line"], t["offset"], "ticket", t["type"], t["title"]) for t in found.tickets]
    rows += [
        (d["line"], d["offset"], "delegation", d["agent"], d["description"])
        for d in found.delegations
    ]
    return sorted(rows, key=lambda row: row[1])
