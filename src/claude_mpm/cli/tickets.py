"""`claude-mpm tickets`: what the assistant named with a marker, in all sessions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from claude_mpm.cli.app import App
from claude_mpm.cli.elsewhere import asked_places, everywhere_option, look_in, sessions_of
from claude_mpm.cli.export import export as write_export
from claude_mpm.cli.export import export_options
from claude_mpm.cli.list_commands import (
    SESSION_OPTION,
    ListGroup,
    caught_up,
    pick,
    session_id,
    show_fields,
)
from claude_mpm.cli.options import common_options
from claude_mpm.cli.scan import scan
from claude_mpm.cli.trackers import pull, push
from claude_mpm.config.trust import real
from claude_mpm.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from claude_mpm.fleet.places import Place
    from claude_mpm.records import Ticket
    from claude_mpm.sessions.store import Store

    Command = TypeVar("Command", bound=Callable[..., Any])

_COLUMNS = ("key", "state", "type", "priority", "title", "session")


_TYPE_OPTION = click.option("--type", "type_", metavar="TYPE", help="Of this type alone.")
_PROJECT_OPTION = click.option(
    "--project", metavar="DIR", help="Of sessions that worked in DIR or below it."
)


def _state_option(default: str) -> Callable[[Command], Command]:
    states = click.Choice(["open", "closed", "all"])
    return click.option("--state", type=states, default=default, show_default=True)


@click.group(cls=ListGroup)
def tickets() -> None:
    """List, show, close and export tickets; without a command: list the open ones."""


@tickets.command("list")
@SESSION_OPTION
@_PROJECT_OPTION
@_TYPE_OPTION
@_state_option("open")
@everywhere_option
@common_options
@click.pass_context
def list_(
    context: click.Context,
    session: str | None,
    project: str | None,
    type_: str | None,
    state: str,
    everywhere: bool,
) -> None:
    """List tickets, the open ones unless --state says otherwise.

    With --on PLACE or --everywhere, those of other machines' sessions there, too: what stands at
    the ends of their journals, and what was seen there before.
    """
    app = context.ensure_object(App)
    places = asked_places(app, everywhere=everywhere)
    with caught_up(app) as store:
        if places is not None:
            _list_everywhere(app, store, places, type_, state)
            return
        records = _chosen(store, session, project, type_, state)
    if app.json:
        app.print_json(records)
        return
    rows = [(t.key, t.state, t.type, t.priority, t.title, t.session[:8], t.agent) for t in records]
    columns = _columns(records)
    app.print_table(columns, [row[: len(columns)] for row in rows])


@tickets.command()
@click.argument("key")
@SESSION_OPTION
@common_options
@click.pass_context
def show(context: click.Context, key: str, session: str | None) -> None:
    """Show all of the ticket KEY, which may be cut short."""
    app = context.ensure_object(App)
    with caught_up(app) as store:
        ticket = pick(store.index.tickets(session_id(store, session)), key, "ticket")
    show_fields(app, ticket)


@tickets.command()
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@SESSION_OPTION
@common_options
@click.pass_context
def close(context: click.Context, keys: tuple[str, ...], session: str | None) -> None:
    """Close tickets."""
    _set_state(context.ensure_object(App), keys, session, "closed")


@tickets.command()
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@SESSION_OPTION
@common_options
@click.pass_context
def reopen(context: click.Context, keys: tuple[str, ...], session: str | None) -> None:
    """Open closed tickets again."""
    _set_state(context.ensure_object(App), keys, session, "open")


@tickets.command()
@SESSION_OPTION
@_PROJECT_OPTION
@_TYPE_OPTION
@_state_option("all")
@export_options
@common_options
@click.pass_context
def export(
    context: click.Context,
    session: str | None,
    project: str | None,
    type_: str | None,
    state: str,
    form: str | None,
    output: str,
) -> None:
    """Write tickets as a table, JSON, CSV or Markdown."""
    app = context.ensure_object(App)
    with caught_up(app) as store:
        records = _chosen(store, session, project, type_, state)
    write_export(records, _columns(records), form or ("json" if app.json else "table"), output)


tickets.add_command(scan)
tickets.add_command(push)
tickets.add_command(pull)


def _list_everywhere(
    app: App, store: Store, places: Sequence[Place], type_: str | None, state: str
) -> None:
    """List tickets of all sessions here, and of other machines' sessions in places."""
    from claude_mpm.fleet.elsewhere import LOOK

    rows = [("here", ticket) for ticket in _chosen(store, None, None, type_, state)]
    for found in sessions_of(look_in(app, store, places, end=LOOK)):
        rows += [
            (found.place, ticket)
            for ticket in found.tickets
            if state in ("all", ticket.state) and type_ in (None, ticket.type)
        ]
    if app.json:
        app.print_json([{**msgspec.structs.asdict(t), "place": place} for place, t in rows])
        return
    columns = ("place", *_COLUMNS)
    cells = [(p, t.key, t.state, t.type, t.priority, t.title, t.session[:8]) for p, t in rows]
    app.print_table(columns, cells)


def _columns(records: Sequence[Ticket]) -> tuple[str, ...]:
    """Return what a table of tickets shows: who said one only where it was a subagent."""
    return (*_COLUMNS, "agent") if any(ticket.agent for ticket in records) else _COLUMNS


def _set_state(app: App, keys: tuple[str, ...], session: str | None, state: str) -> None:
    with caught_up(app) as store:
        records = store.index.tickets(session_id(store, session))
        # All keys are looked up before the first is changed: a slip changes nothing.
        for ticket in [pick(records, key, "ticket") for key in keys]:
            if ticket.state != state:
                store.set_ticket_state(ticket, state)
            app.note(f"{ticket.key} {state}: {ticket.title}")


def _chosen(
    store: Store, session: str | None, project: str | None, type_: str | None, state: str
) -> list[Ticket]:
    wanted = None if state == "all" else state
    records = store.index.tickets(session_id(store, session), wanted)
    if type_ is not None:
        records = [ticket for ticket in records if ticket.type == type_]
    if project is not None:
        inside = _sessions_in(store, real(Path(project).expanduser()))
        records = [ticket for ticket in records if ticket.session in inside]
    return records


def _sessions_in(store: Store, folder: Path) -> set[str]:
    inside = set()
    for session in store.sessions():
        try:
            meta = session.read_meta()
        except StorageError:
            continue  # named already, when the index was brought up to date
        # What was recorded is compared without its links, too: one folder has many spellings.
        if meta.cwd and real(Path(meta.cwd)).is_relative_to(folder):
            inside.add(meta.session_id)
    return inside
