"""`claude-mpm ps`, `show` and `stop`: which sessions there are, and their end."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from claude_mpm.cli.app import App, common_options
from claude_mpm.cli.list_commands import warn
from claude_mpm.cli.output import echo
from claude_mpm.cli.session_arg import end_session, pick_session, status_now
from claude_mpm.errors import MPMError, StorageError, UsageError
from claude_mpm.printable import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claude_mpm.cli.session_view import SessionRow
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.sessions.store import Store

_RECENT = 5  # how many ended sessions `ps` lists without --all


@click.command()
@click.option("--all", "all_", is_flag=True, help="Also all that have ended.")
@common_options
@click.pass_context
def ps(context: click.Context, all_: bool) -> None:
    """List the sessions that run, and the few that ended last."""
    from claude_mpm.cli.session_view import COLUMNS, cells

    app = context.ensure_object(App)
    with closing(app.store()) as store:
        rows = list(_rows(store, all_=all_))
    if app.json:
        app.print_json(rows)
    elif rows:
        app.print_table(COLUMNS, map(cells, rows))
    else:
        app.note('there is no session yet; claude-mpm run "…" starts one')


def _rows(store: Store, *, all_: bool) -> Iterator[SessionRow]:
    """Yield the sessions; one that is damaged is named on standard error and left out."""
    from claude_mpm.cli.session_view import read_row

    ended = 0
    store.index.position("")  # raises here: an index that is damaged is no session's fault
    for folder in store.sessions():
        runs = not folder.has_ended()
        if runs or all_ or ended < _RECENT:
            try:
                yield read_row(store, folder)
            except StorageError as error:
                warn(folder, error)
                continue
            ended += not runs


@click.command()
@click.argument("session", required=False, metavar="[ID]")
@common_options
@click.pass_context
def show(context: click.Context, session: str | None) -> None:
    """Show all that is known of the session ID, or of the newest one."""
    from claude_mpm.cli.session_view import print_record, read_record

    app = context.ensure_object(App)
    with closing(app.store()) as store:
        record = read_record(store, pick_session(store, session))
    if app.json:
        app.print_json(record)
    else:
        print_record(app, record)


@click.command()
@click.argument("sessions", nargs=-1, metavar="[ID]...")
@click.option("--all", "all_", is_flag=True, help="Every session that runs.")
@common_options
@click.pass_context
def stop(context: click.Context, sessions: tuple[str, ...], all_: bool) -> None:
    """End the Claude of the sessions ID, or of the newest one.

    A turn is interrupted, then the input ended; only what does not listen is terminated. The
    session stays: `resume` goes on with it.
    """
    if sessions and all_:
        raise UsageError("name sessions or say --all, not both")
    app = context.ensure_object(App)
    with closing(app.store()) as store:
        if all_:
            folders = [folder for folder in store.folders() if _may_run(folder)]
        elif sessions:
            folders = [store.find_folder(name) for name in sessions]
        else:
            folders = [pick_session(store, None)]
        failures: list[MPMError | OSError] = []
        ended = [_stop(app, store, folder, failures) for folder in folders]
    if app.json:
        app.print_json(ended)
    if not folders:
        app.note("no session runs")
    if failures:
        alone = len(folders) == 1
        context.exit(getattr(failures[0], "exit_status", 1) if alone else 1)
    context.exit(0 if all(each["ended"] for each in ended) else 1)


def _may_run(folder: SessionFolder) -> bool:
    """Return whether there is something to end, whatever the place has written."""
    made = folder.read_container()
    return folder.has_host() or (made is not None and not made.gone)


def _stop(
    app: App, store: Store, folder: SessionFolder, failures: list[MPMError | OSError]
) -> dict[str, Any]:
    """End one session and return how it ended; its errors do not affect the others."""
    from claude_mpm.engine.shutdown import end_what_is_left

    name = folder.path.name
    state, how = "damaged", "had ended already"
    before = len(failures)
    try:
        state = status_now(store, folder).state
        how = f"{state.since} already"
        if state.runs:
            how = end_session(app, folder)
            store.catch_up(folder)
    except (MPMError, OSError) as error:
        failures.append(error)
    is_damaged = bool(folder.damage()) or state in ("damaged", "lost")
    try:
        if end_what_is_left(folder, processes=is_damaged):
            how = "was ended"
    except MPMError as error:
        failures.append(error)
    for each in failures[before:]:
        echo(f"claude-mpm: {one_line(f'session {name[:8]}: {each}')}", err=True)
    is_far = folder.link_file.exists()  # what runs there does so with no host here, too
    ended = folder.has_ended() or not (_may_run(folder) or is_far)
    if not app.json:
        where = f"its place does not answer; {folder.host_errors}" if is_far else folder.pid_file
        echo(f"{name[:8]}  {how}" if ended else f"{name[:8]}  does not end; {where}")
    return {"session": name, "was": state, "ended": ended, "exit_status": folder.exit_status()}
