"""`claude-mpm delegations`: what Claude handed to subagents, in all sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from claude_mpm.cli.app import App
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
from claude_mpm.errors import UsageError
from claude_mpm.sessions.index import UNFINISHED

if TYPE_CHECKING:
    from claude_mpm.records import Delegation
    from claude_mpm.sessions.store import Store

_COLUMNS = ("key", "state", "agent", "source", "duration", "description", "session")
_STATES = (
    "all", "running", "lost", "completed", "failed", "stopped", "rejected", "announced", "closed",
)  # fmt: skip
_STATE_OPTION = click.option(
    "--state", type=click.Choice(_STATES), default="all", show_default=True
)


@click.group(cls=ListGroup)
def delegations() -> None:
    """List, show, close and export delegations; without a command: list them all."""


@delegations.command("list")
@SESSION_OPTION
@_STATE_OPTION
@common_options
@click.pass_context
def list_(context: click.Context, session: str | None, state: str) -> None:
    """List delegations; a lost one was running when its session came to an end."""
    app = context.ensure_object(App)
    with caught_up(app) as store:
        records = _chosen(store, session, state)
    if app.json:
        app.print_json(records)
    else:
        app.print_table(_COLUMNS, [_row(delegation) for delegation in records])


@delegations.command()
@click.argument("key")
@SESSION_OPTION
@common_options
@click.pass_context
def show(context: click.Context, key: str, session: str | None) -> None:
    """Show all of the delegation KEY, which may be cut short."""
    app = context.ensure_object(App)
    with caught_up(app) as store:
        delegation = pick(_chosen(store, session, "all"), key, "delegation")
    show_fields(app, delegation)


@delegations.command()
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@SESSION_OPTION
@common_options
@click.pass_context
def close(context: click.Context, keys: tuple[str, ...], session: str | None) -> None:
    """Count delegations that have not ended as closed."""
    app = context.ensure_object(App)
    with caught_up(app) as store:
        records = _chosen(store, session, "all")
        chosen = [pick(records, key, "delegation") for key in keys]
        for delegation in chosen:
            _check_unfinished(delegation)
        for delegation in chosen:
            if delegation.state != "closed":
                store.close_delegation(delegation)
            app.note(f"{delegation.key} closed: {delegation.agent}")


@delegations.command()
@SESSION_OPTION
@_STATE_OPTION
@export_options
@common_options
@click.pass_context
def export(
    context: click.Context, session: str | None, state: str, form: str | None, output: str
) -> None:
    """Write delegations as a table, JSON, CSV or Markdown."""
    app = context.ensure_object(App)
    with caught_up(app) as store:
        records = _chosen(store, session, state)
    write_export(records, _COLUMNS, form or ("json" if app.json else "table"), output)


def _chosen(store: Store, session: str | None, state: str) -> list[Delegation]:
    records = _with_lost(store, store.index.delegations(session_id(store, session)))
    return [delegation for delegation in records if state in ("all", delegation.state)]


def _with_lost(store: Store, records: list[Delegation]) -> list[Delegation]:
    """Mark running delegations as lost if their session's host has ended."""
    running = {delegation.session for delegation in records if delegation.state == "running"}
    over = {session for session in running if store.folder(session).has_ended()}
    return [
        msgspec.structs.replace(delegation, state="lost")
        if delegation.state == "running" and delegation.session in over
        else delegation
        for delegation in records
    ]


def _check_unfinished(delegation: Delegation) -> None:
    if delegation.state not in (*UNFINISHED, "lost", "closed"):
        raise UsageError(
            f"delegation {delegation.key} has ended already ({delegation.state});"
            " only one that has not can be closed"
        )


def _row(delegation: Delegation) -> tuple[Any, ...]:
    seconds = "" if delegation.duration is None else f"{delegation.duration:.1f} s"
    task: Any = delegation.description or delegation.prompt[:80]
    return (
        delegation.key, delegation.state, delegation.agent, delegation.source, seconds, task,
        delegation.session[:8],
    )  # fmt: skip
