"""`claude-mpm ps`, `show` and `stop`: which sessions there are, and their end."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from claude_mpm.cli.app import App
from claude_mpm.cli.elsewhere import (
    asked_places,
    bring,
    everywhere_option,
    look_in,
    pick_anywhere,
    place_of,
    sessions_of,
    silent_places,
)
from claude_mpm.cli.list_commands import warn
from claude_mpm.cli.options import common_options
from claude_mpm.cli.output import echo
from claude_mpm.cli.session_arg import (
    end_session,
    pick_session,
    remove_unstarted,
    status_now,
)
from claude_mpm.errors import MPMError, StorageError, UsageError
from claude_mpm.journal.layout import SessionFolder
from claude_mpm.journal.lease import read_owner
from claude_mpm.printable import one_line
from claude_mpm.sessions.settled import Settled, stamp
from claude_mpm.sessions.status import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from claude_mpm.cli.session_view import SessionRow
    from claude_mpm.fleet.places import Place
    from claude_mpm.sessions.store import Store

_RECENT = 5  # how many ended sessions `ps` lists without --all


@click.command()
@click.option("--all", "all_", is_flag=True, help="Also all that have ended.")
@everywhere_option
@common_options
@click.pass_context
def ps(context: click.Context, all_: bool, everywhere: bool) -> None:
    """List the sessions that run, and the few that ended last.

    With --on PLACE those in this place, and with --everywhere all: also sessions that other
    machines have started in the named places. Each place has two seconds to answer; of one that
    does not, what it said last is listed.
    """
    from claude_mpm.cli.session_view import COLUMNS, cells

    app = context.ensure_object(App)
    places = asked_places(app, everywhere=everywhere)
    with closing(app.store()) as store:
        rows = list(_rows(store, all_=all_))
        if places is not None:
            _list_everywhere(app, store, places, rows, all_places=everywhere)
            return
    if app.json:
        app.print_json(rows)
    elif rows:
        app.print_table(COLUMNS, map(cells, rows))
    else:
        app.note('there is no session yet; claude-mpm run "…" starts one')


def _list_everywhere(
    app: App,
    store: Store,
    places: Sequence[Place],
    rows: Sequence[SessionRow],
    *,
    all_places: bool,
) -> None:
    """List sessions of this machine in places, and those of others there."""
    from claude_mpm.cli.session_view import COLUMNS_EVERYWHERE, far_cells, far_record, near_cells

    found = [(place_of(store.folder(row.session).read_meta(), places), row) for row in rows]
    near = [(place or "here", row) for place, row in found if place or all_places]
    seen = look_in(app, store, places)
    far = [*sessions_of(seen)]
    if app.json:
        now = time.time()
        known = [{**msgspec.structs.asdict(r), "place": p, "seen_at": now} for p, r in near]
        app.print_json([*known, *map(far_record, far), *silent_places(seen)])
    elif near or far:
        table = [near_cells(place, row) for place, row in near]
        app.print_table(COLUMNS_EVERYWHERE, [*table, *map(far_cells, far)])
    else:
        app.note("there is no session there")


def _rows(store: Store, *, all_: bool) -> Iterator[SessionRow]:
    """Yield the sessions; one that is damaged is named on standard error and left out."""
    from claude_mpm.cli.session_view import kept_row, read_row

    ended = 0
    settled = Settled(store.index)  # a damaged index raises here, and is no session's fault
    for entry in store.entries():
        stamped = stamp(entry)
        kept = settled.row(entry, stamped)
        if kept is not None and not all_ and ended >= _RECENT:
            continue
        # It has ended; without a row that can be read, it was never listed, or by another release.
        if kept and (row := kept_row(kept)) is not None:
            yield row
            ended += 1
            continue
        folder = SessionFolder(Path(entry.path))
        if not folder.meta_file.exists():
            continue
        runs = kept is None and not folder.has_ended()
        try:
            if runs or all_ or ended < _RECENT:
                row = read_row(store, folder)
                yield row
                settled.note(folder, stamped, msgspec.json.encode(row))
                ended += not runs
            else:
                settled.note(folder, stamped)
        except StorageError as error:
            warn(folder, error)
    settled.save()


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
@everywhere_option
@common_options
@click.pass_context
def stop(context: click.Context, sessions: tuple[str, ...], all_: bool, everywhere: bool) -> None:
    """End the Claude of the sessions ID, or of the newest one.

    A turn is interrupted, then the input ended; only what does not listen is terminated. The
    session stays: `resume` goes on with it.
    """
    if sessions and all_:
        raise UsageError("name sessions or say --all, not both")
    app = context.ensure_object(App)
    places = asked_places(app, everywhere=everywhere)
    with closing(app.store()) as store:
        folders = _chosen(app, store, sessions, places, all_=all_)
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


def _chosen(
    app: App,
    store: Store,
    sessions: tuple[str, ...],
    places: Sequence[Place] | None,
    *,
    all_: bool,
) -> list[SessionFolder]:
    """Return the sessions to end; those of other machines are followed from here first."""
    if places is None:
        if all_:
            return [folder for folder in store.folders() if _may_run(folder)]
        return [store.find_folder(name) for name in sessions] or [pick_session(store, None)]
    if not all_:
        return [pick_anywhere(app, store, name, places) for name in sessions or (None,)]
    running = [folder for folder in store.sessions() if _may_run(folder)]
    near = [folder for folder in running if place_of(folder.read_meta(), places)]
    far = [each for each in sessions_of(look_in(app, store, places)) if each.runs]
    return [*near, *(bring(app, store, places, each) for each in far)]


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
        elif state == State.LOST and folder.pids() is None and remove_unstarted(app, folder):
            how = "was ended"
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
        echo(f"{name[:8]}  {how}" if ended else f"{name[:8]}  does not end; {_why(folder)}")
    return {"session": name, "was": state, "ended": ended, "exit_status": folder.exit_status()}


def _why(folder: SessionFolder) -> str:
    """Return why a session may not end, and where to look."""
    if folder.link_file.exists():
        return f"its place does not answer; {folder.host_errors}"
    if folder.pids() is None:
        return f"it is being started by {read_owner(folder)}, and ends when its place answers that"
    return str(folder.pid_file)
