"""What the commands over tickets and over delegations share."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import click

from claude_mpm.cli.output import echo
from claude_mpm.errors import UsageError
from claude_mpm.printable import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from claude_mpm.cli.app import App
    from claude_mpm.errors import StorageError
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.records import Delegation, Ticket
    from claude_mpm.sessions.store import Store

    Found = TypeVar("Found", Ticket, Delegation)

SESSION_OPTION = click.option("--session", metavar="ID", help="Of this session alone.")


class ListGroup(click.Group):
    """A group whose command `list` is meant where none is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put in `list` before options, or where there is nothing."""
        asks_for_help = args[:1] in (["-h"], ["--help"])
        named = bool(args) and not args[0].startswith("-")
        # A shell that completes has to be offered the commands.
        if not (named or asks_for_help or ctx.resilient_parsing):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@contextmanager
def caught_up(app: App) -> Iterator[Store]:
    """Open the store with its index brought up to all journals.

    A session that cannot be read is named on standard error; the others are still there.
    """
    store = app.store()
    try:
        store.catch_up_all(on_error=warn)
        yield store
    finally:
        store.close()


def warn(folder: SessionFolder, error: StorageError | OSError) -> None:
    """Name a session that cannot be read on standard error."""
    said = f"session {folder.path.name} is left out: {error}"
    echo(f"claude-mpm: {one_line(said)}", err=True)


def session_id(store: Store, prefix: str | None) -> str | None:
    """Return the id that a prefix stands for; None for None.

    Raises:
        UnknownSession: there is none, or several.
    """
    return None if prefix is None else store.find(prefix).path.name


def pick(found: Sequence[Found], key: str, kind: str) -> Found:
    """Return the one whose key is, or alone begins with, `key`.

    Raises:
        UsageError: there is none, or several.
    """
    matching = [each for each in found if each.key.startswith(key)]
    chosen = [each for each in matching if each.key == key] or matching
    if not key or not chosen:
        raise UsageError(f"no {kind} {key!r} here; `claude-mpm {kind}s --state all` lists them")
    if len(chosen) > 1:
        several = ", ".join(f"{each.key} of session {each.session}" for each in chosen[:3])
        raise UsageError(
            f"{len(chosen)} {kind}s begin with {key!r}: {several}; give more, or --session"
        )
    return chosen[0]


def show_fields(app: App, record: Ticket | Delegation) -> None:
    """Print all that is known of one ticket or delegation."""
    if app.json:
        app.print_json(record)
        return
    for name in record.__struct_fields__:
        value = getattr(record, name)
        text = ", ".join(value) if isinstance(value, tuple) else value
        if text not in ("", None):
            echo(f"{name}: {text}")
