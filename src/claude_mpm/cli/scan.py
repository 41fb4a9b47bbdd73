"""`claude-mpm tickets scan`: shows what a file contains; nothing is stored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from claude_mpm.cli.app import App
from claude_mpm.cli.options import common_options
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
        scan_result = _scan(file, app.settings.ticket_markers)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror}); name a file") from error
    scan_result = scan_result.redacted(app.redactor)
    if app.json:
        app.print_json(scan_result)
        return
    app.print_table(("line", "offset", "what", "of", "text"), _rows(scan_result))
    for remark in _remarks(scan_result):
        app.note(remark)


def _scan(file: str, markers: Mapping[str, str]) -> Scan:
    """Scan a file, and the files of the subagents beside a transcript."""
    from claude_mpm.processors.file_scan import scan_file

    with click.open_file(file, "rb") as stream:
        scan_result = scan_file(stream, markers)
    for path in subagent_files(Path(file)):
        with path.open("rb") as stream:
            more = scan_file(stream, markers)
        scan_result.add(more, str(path))
    return scan_result


def subagent_files(transcript: Path) -> list[Path]:
    """Return the folder of the transcripts of a conversation's subagents."""
    folder = transcript.with_suffix("") / "subagents"
    return sorted(path for path in folder.glob("*.jsonl") if path.is_file())


def _remarks(scan_result: Scan) -> Iterator[str]:
    """Yield remarks about how the file was read."""
    yield (
        f"{scan_result.kind}, {scan_result.lines} lines: {len(scan_result.tickets)} tickets,"
        f" {len(scan_result.delegations)} delegations"
    )
    if scan_result.encoding != "utf-8":
        yield f"the file is {scan_result.encoding.upper()}"
    if scan_result.not_utf8:
        yield (
            f"{scan_result.not_utf8} lines are not UTF-8: what cannot be read is shown as \ufffd;"
            " convert the file first, as with iconv -f CP1252 -t UTF-8"
        )
    if plain := scan_result.not_json - scan_result.damaged:
        yield f"{plain} lines are no JSON: they were read as text"
    if scan_result.damaged:
        yield f"{scan_result.damaged} lines are damaged JSON: they were left out"


def _rows(scan_result: Scan) -> list[tuple[Any, ...]]:
    rows = [(t["line"], t["offset"], "ticket", t["type"], t["title"]) for t in scan_result.tickets]
    rows += [
        (d["line"], d["offset"], "delegation", d["agent"], d["description"])
        for d in scan_result.delegations
    ]
    return sorted(rows, key=lambda row: row[1])
