"""What the commands for tickets and for delegations share."""

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

    Record = TypeVar("Record", Ticket, Delegation)

SESSION_OPTION = click.option("--session", metavar="ID", help="Of this session alone.")


class ListGroup(click.Group):
    """A group with the default command `list`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert `list` before options, or if there are no arguments."""
        asks_for_help = args[:1] in (["-h"], ["--help"])
        named = bool(args) and not args[0].startswith("-")
        # A shell that completes needs the names of the commands.
        if not (named or asks_for_help or ctx.resilient_parsing):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@contextmanager
def caught_up(app: App) -> Iterator[Store]:
    """Open the store, with its index brought up to date.

    A session that cannot be read is named on standard error, and left out.
    """
    store = app.store()
    try:
        store.catch_up_all(on_error=warn)
        yield store
    finally:
        store.close()


def warn(folder: SessionFolder, error: StorageError | OSError) -> None:
    """Name a session that cannot be read on standard error."""
    message = f"session {folder.path.name} is left out: {error}"
    echo(f"claude-mpm: {one_line(message)}", err=True)


def session_id(store: Store, prefix: str | None) -> str | None:
    """Return the id of the session with a prefix; None for None.

    Raises:
        UnknownSession: there is none, or several.
    """
    return None if prefix is None else store.find(prefix).path.name


def pick(records: Sequence[Record], key: str, kind: str) -> Record:
    """Return the record whose key is `key`, or is the only one that begins with it.

    Raises:
        UsageError: there is none, or several.
    """
    matching = [record for record in records if record.key.startswith(key)]
    chosen = [record for record in matching if record.key == key] or matching
    if not key or not chosen:
        raise UsageError(f"no {kind} {key!r} here; `claude-mpm {kind}s --state all` lists them")
    if len(chosen) > 1:
        several = ", ".join(f"{record.key} of session {record.session}" for record in chosen[:3])
        raise UsageError(
            f"{len(chosen)} {kind}s begin with {key!r}: {several}; give more, or --session"
        )
    return chosen[0]


def show_fields(app: App, record: Ticket | Delegation) -> None:
    """Print all fields of a ticket or delegation."""
    if app.json:
        app.print_json(record)
        return
    for name in record.__struct_fields__:
        value = getattr(record, name)
        text = ", ".join(value) if isinstance(value, tuple) else value
        if text not in ("", None):
            echo(f"{name}: {text}")
