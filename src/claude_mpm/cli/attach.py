"""`claude-mpm attach`: following a session as one of its controllers."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING

import click

from claude_mpm.cli.app import App
from claude_mpm.cli.elsewhere import asked_places, everywhere_option, pick_anywhere
from claude_mpm.cli.native_screen import has_screen, show
from claude_mpm.cli.options import common_options
from claude_mpm.cli.session_arg import leave_as_found, status_now, taken_up
from claude_mpm.cli.turn_view import show_turn, summary, turn_record

if TYPE_CHECKING:
    from claude_mpm.conversation.turn import Turn
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.orchestration.orchestrator import MPMOrchestrator
    from claude_mpm.sessions.status import Status
    from claude_mpm.sessions.store import Store


@click.command()
@click.argument("session", required=False, metavar="[ID]")
@everywhere_option
@common_options
@click.pass_context
def attach(context: click.Context, session: str | None, everywhere: bool) -> None:
    """Follow the session ID, or the newest one, and keep its Claude alive meanwhile.

    The turn that runs, or else the last one, is printed from its beginning. On a terminal it is
    then a conversation, and Claude's questions are asked; in a pipe, the command ends with the
    turn, with its exit status. Claude is left running in both cases: `stop` ends it. Prompts
    that a dead controller left undelivered are given to Claude first. A session that was begun in
    Claude's own interface is shown in it again.

    With --on PLACE or --everywhere, ID may be a session that another machine has started there:
    it is then followed from here, too, and listed by `ps`.

    Ctrl-C interrupts the turn, twice leaves; to look on without being able to disturb: `logs -f`.
    """
    app = context.ensure_object(App)
    places = asked_places(app, everywhere=everywhere)
    with closing(app.store()) as store:
        folder = pick_anywhere(app, store, session, places)
        status = status_now(store, folder)
        if not status.state.runs:
            context.exit(_show_ended(app, store, folder, status))
    context.exit(_follow(app, folder))


def _show_ended(app: App, store: Store, folder: SessionFolder, status: Status) -> int:
    """Print the last turn of a session that has ended, and return its exit status."""
    from claude_mpm.engine.follow import read_turn

    name = folder.path.name[:8]
    hint = f"session {name} {status.state.since}; claude-mpm resume {name} goes on with it"
    if not status.begun:
        app.note(hint)
        return 1 if folder.exit_status() else 0
    turn = read_turn(folder, store, status)
    app.know(folder)
    end_turn(app, turn, folder.path.name)
    app.note(hint)
    return turn.verdict.exit_status


def _follow(app: App, folder: SessionFolder) -> int:
    app.end_signals.catch()
    if has_screen(folder):
        return show(app, taken_up(app, folder))
    terminal = sys.stdin.isatty()
    claude = taken_up(app, folder, permissions="ask" if terminal else "deny")
    try:
        claude.start_or_raise()
        status = show_turns_before(app, claude, asks=terminal)
        if terminal and claude.running:
            from claude_mpm.cli.chat import converse

            status = converse(app, claude)
    finally:
        leave_as_found(app, claude)
    return status


def show_turns_before(app: App, claude: MPMOrchestrator, *, asks: bool) -> int:
    """Print the turns of what was asked before; return the exit status of the last."""
    status = 0
    for turn in claude.turns_before:
        app.note(f"› {_first_line(turn.prompt)}", dim=True)
        end_turn(app, turn, claude.session_id, asks=asks)
        status = turn.verdict.exit_status
    return status


def end_turn(app: App, turn: Turn, session_id: str, *, asks: bool = False) -> None:
    """Print a turn while it runs, and its outcome."""
    show_turn(app, turn, asks=asks)
    turn.wait()
    if app.json:
        app.print_json(turn_record(turn, session_id))
    app.note(summary(turn, session_id), dim=True)


def _first_line(prompt: str) -> str:
    lines = prompt.strip().splitlines() or [""]
    return lines[0] if len(lines) == 1 else f"{lines[0]} …"
