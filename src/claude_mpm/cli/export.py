"""Records as a table, JSON, CSV or Markdown."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from claude_mpm.cli.app import json_text
from claude_mpm.cli.output import echo_export, echo_json
from claude_mpm.printable import one_line, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Command = TypeVar("Command", bound=Callable[..., Any])

FORMATS = ("table", "json", "csv", "markdown")
# How a spreadsheet formula may begin, also after blanks and in full width.
_FORMULA = ("=", "+", "-", "@")
_LOOKED_AT = 16  # characters


def export_options(command: Command) -> Command:
    """Give a command the options `--format` and `--output`."""
    command = click.option(
        "--output", metavar="FILE", default="-", help="Where to write; without it, to the screen."
    )(command)
    return click.option(
        "--format", "form", type=click.Choice(FORMATS), help="Without it: table, or --json."
    )(command)


def export(
    records: Sequence[msgspec.Struct], columns: Sequence[str], form: str, output: str
) -> None:
    """Write records to a file, or to standard output for "-".

    Args:
        columns: the fields that the table and Markdown show; JSON and CSV have all.
        form: one of `FORMATS`.

    Raises:
        OSError: the file cannot be written.
    """
    text = render(records, columns, form)
    if output == "-":
        echo_json(text.removesuffix("\n")) if form == "json" else echo_export(text)
    else:
        # newline="": the CSV module has put its own line ends already.
        Path(output).write_text(text, encoding="utf-8", newline="")


def render(records: Sequence[msgspec.Struct], columns: Sequence[str], form: str) -> str:
    """Return records in one of the `FORMATS`."""
    rows = [msgspec.structs.asdict(record) for record in records]
    if form == "json":
        return json_text(rows) + "\n"
    if form == "csv":
        return _csv(rows, columns)
    cells = [[one_line(row[column] or "") for column in columns] for row in rows]
    return _markdown(cells, columns) if form == "markdown" else _table(cells, columns)


def _table(cells: list[list[str]], columns: Sequence[str]) -> str:
    lines = [list(columns), *cells]
    widths = [max(len(line[n]) for line in lines) for n in range(len(columns))]
    padded = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    return "".join(f"{line}\n" for line in padded)


def _markdown(cells: list[list[str]], columns: Sequence[str]) -> str:
    lines = [list(columns), ["---"] * len(columns), *([*map(_escaped, row)] for row in cells)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _escaped(cell: str) -> str:
    for sign, instead in (("\\", "\\\\"), ("|", "\\|"), ("<", "&lt;")):
        cell = cell.replace(sign, instead)
    return cell


def _csv(rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> str:
    import csv
    import io

    rows = list(rows)
    names = list(rows[0]) if rows else list(columns)
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(names)
    writer.writerows([_guarded(row[name]) for name in names] for row in rows)
    return stream.getvalue()


def _guarded(value: object) -> object:
    """Escape text that a spreadsheet would run as a formula."""
    if isinstance(value, int | float):
        return value
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value or "")
    text = "\r".join(map(printable, text.split("\r")))  # which is a line break within a cell
    begin = unicodedata.normalize("NFKC", text[:_LOOKED_AT]).lstrip()
    return f"'{text}" if begin.startswith(_FORMULA) or text[:1].isspace() else text
