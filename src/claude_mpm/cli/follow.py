"""`claude-mpm logs` and `wait`: looking at a session without touching it."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

import click

from claude_mpm.cli.app import App
from claude_mpm.cli.elsewhere import asked_places, everywhere_option, pick_anywhere
from claude_mpm.cli.options import common_options
from claude_mpm.cli.output import echo_answer, echo_json
from claude_mpm.cli.turn_view import summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.sessions.status import Status
    from claude_mpm.sessions.store import Store
    from claude_mpm.wire.events import Event

_TIME_IS_UP = 124


@click.command()
@click.argument("session", required=False, metavar="[ID]")
@click.option("-f", "--follow", is_flag=True, help="Go on until the session ends.")
@click.option("--events", is_flag=True, help="Print the journal's events instead, as JSON lines.")
@click.option(
    "--since", type=click.IntRange(min=0), default=0, metavar="BYTE",
    help="Begin at this byte of the journal: the end of a line.",
)  # fmt: skip
@everywhere_option
@common_options
@click.pass_context
def logs(
    context: click.Context,
    session: str | None,
    follow: bool,
    events: bool,
    since: int,
    everywhere: bool,
) -> None:
    """Print what Claude said in the session ID, or in the newest one.

    It only reads: any number can do so at once, and Ctrl-C ends nothing but the reading.
    """
    from claude_mpm.sessions.reader import read_events

    app = context.ensure_object(App)
    places = asked_places(app, everywhere=everywhere)
    with closing(app.store()) as store:
        folder = pick_anywhere(app, store, session, places)
        found = read_events(folder, store.index, since=since, follow=follow)
        if events or app.json:
            for raw in _raw_lines(found):
                echo_json(raw)
        else:
            for line in _text_lines(found):
                echo_answer(line)


def _raw_lines(events: Iterable[Event]) -> Iterator[bytes]:
    """Yield each line of the journal once, though several events may come of it."""
    last = -1
    for event in events:
        if event.raw and event.offset != last:
            last = event.offset
            yield event.raw


def _text_lines(events: Iterable[Event]) -> Iterator[str]:
    from claude_mpm.wire.text_lines import LineAssembler

    assembler = LineAssembler()
    for event in events:
        yield from assembler.feed(event)


@click.command()
@click.argument("session", required=False, metavar="[ID]")
@everywhere_option
@common_options
@click.pass_context
def wait(context: click.Context, session: str | None, everywhere: bool) -> None:
    """Wait until the session ID, or the newest one, is idle or has ended.

    The exit status is that of its last turn: 0 done, 1 failed, 130 interrupted; 124 where
    --timeout has passed before. It only waits: the session goes on whatever becomes of this.
    """
    app = context.ensure_object(App)
    given = app.flags.get("timeout")
    deadline = float("inf") if given is None else time.monotonic() + given
    places = asked_places(app, everywhere=everywhere)
    with closing(app.store()) as store:
        folder = pick_anywhere(app, store, session, places)
        from claude_mpm.engine.follow import settled

        status = settled(store, folder, deadline)
        context.exit(_outcome(app, store, folder, status))


def _outcome(app: App, store: Store, folder: SessionFolder, status: Status) -> int:
    from claude_mpm.engine.follow import read_turn
    from claude_mpm.sessions.status import State

    name = folder.path.name[:8]
    if status.state in (State.STARTING, State.WORKING, State.WAITING, State.PARKED):
        app.note(f"the time is up; session {name} is {status.state}")
        return _TIME_IS_UP
    if not status.begun:
        app.note(f"session {name}: {status.state}, no turn since its last start")
        return 1 if folder.exit_status() or status.state is State.LOST else 0
    turn = read_turn(folder, store, status)
    app.note(summary(turn, folder.path.name))
    return turn.verdict.exit_status
