"""All output of the command to standard output and standard error."""

from __future__ import annotations

import logging
import os
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

from claude_mpm.printable import LineFormatter, printable, printable_json

if TYPE_CHECKING:
    from typing import TextIO

INTERRUPTED = 130  # the exit status after Ctrl-C
_UNITS = (("d", 86400), ("h", 3600), ("m", 60))


def is_plain() -> bool:
    """Return whether to write no escape sequences: they are unwanted, or not supported."""
    return bool(os.environ.get("NO_COLOR")) or is_dumb()


def is_dumb() -> bool:
    """Return whether the terminal is not known to do more than print lines.

    That is one without a type, and terminfo's `dumb` and `unknown` (ncurses, terminfo.src).
    """
    return os.environ.get("TERM", "") in ("", "dumb", "unknown")


class Styled(str):
    """Text that is fit for a terminal, with colours of our own; what is added to it is not."""


def styled(text: object, **style: Any) -> Styled:
    """Return text as text, in colours: `style` is as for `click.style`."""
    import click  # here and below: not every command prints so, and it takes time to import

    return Styled(click.style(printable(str(text)), **style))


def echo(
    *parts: str, err: bool = False, nl: bool = True, file: TextIO | None = None, **style: Any
) -> None:
    """Print a line of text; nothing but what `styled` made steers the terminal.

    Args:
        parts: what the line is made of, without blanks between.
        err: whether it goes to standard error.
        nl: whether a line break follows.
        file: where it goes instead.
        style: of the whole line, as for `click.style`.
    """
    text = "".join(part if isinstance(part, Styled) else printable(part) for part in parts)
    import click

    text = click.style(text, **style) if style else text
    click.echo(text, file=file, err=err, nl=nl, color=False if is_plain() else None)


def echo_answer(line: str) -> None:
    """Print a line of what Claude answers: as it is in a pipe, as text on a terminal."""
    on_terminal = sys.stdout.isatty()
    sys.stdout.write(f"{printable(line.removesuffix(chr(13))) if on_terminal else line}\n")
    sys.stdout.flush()


def echo_json(text: str | bytes) -> None:
    """Print JSON; on a terminal, what would steer it is escaped as JSON has it."""
    import click

    if isinstance(text, bytes):
        if not sys.stdout.isatty():
            click.echo(text)
            return
        text = text.decode("utf-8", "replace")
    click.echo(printable_json(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def echo_export(text: str) -> None:
    """Print an export: as it is in a pipe, as text on a terminal."""
    on_terminal = sys.stdout.isatty()
    sys.stdout.write(printable(text.replace("\r\n", "\n")) if on_terminal else text)


def log_to_stderr(level: str, *names: str) -> None:
    """Print what the loggers of these names log, from a level on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(message)s"))
    for name in names:
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(level)


def minute(at: float | None) -> str:
    """Return a local time without its seconds; empty for None."""
    return "" if at is None else datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M")


def age(seconds: float) -> str:
    """Return a time that has passed in its largest unit: 40s, 5m, 3h, 2d."""
    for unit, size in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"
