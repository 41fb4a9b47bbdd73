"""`claude-mpm move`: a conversation goes on in another place."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import click

from claude_mpm.cli.app import App
from claude_mpm.cli.attach import show_turns_before
from claude_mpm.cli.options import common_options, named_values
from claude_mpm.cli.run import STAY
from claude_mpm.cli.session_arg import pick_session, status_now
from claude_mpm.errors import MPMError, UsageError
from claude_mpm.journal.rate_limited import read_parked
from claude_mpm.sessions.status import State

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.orchestration.orchestrator import MPMOrchestrator


@click.command()
@click.argument("session", metavar="ID")
@click.option("--now", is_flag=True, help="Interrupt a turn that runs.")
@click.option(
    "--from-option", "from_options", multiple=True, metavar="NAME=VALUE",
    help="An argument of the orchestrator where the session is, which is not recorded.",
)  # fmt: skip
@common_options
@click.pass_context
def move(context: click.Context, session: str, now: bool, from_options: tuple[str, ...]) -> None:
    """Move the session ID to the place of --orchestrator and -o, or of --on.

    Its Claude is ended where it is, once its turn is over, and started there on the same
    conversation. One that ran is left running there; one that had ended is ended again, and
    `resume` goes on with it there. If anything fails, the session stays where it is. The files of
    the folder that Claude works in do not move.
    """
    app = context.ensure_object(App)
    if not app.on and "orchestrator" not in app.flags:
        raise UsageError(
            f"where is {session} to go? claude-mpm move {session} --orchestrator NAME"
            " -o NAME=VALUE, or --on PLACE"
        )
    app.end_signals.catch()
    plugins = {name: app.flags[name] for name in ("plugins",) if name in app.flags}
    options = named_values(from_options)
    here = App(flags=plugins, options=options, end_signals=app.end_signals)
    with closing(app.store()) as store:
        folder = pick_session(store, session)
        state = status_now(store, folder).state
    here.recall(folder)
    app.recall(folder, elsewhere=True)
    app.know(folder)
    if state in (State.STARTING, State.WORKING, State.WAITING) and not now:
        app.note(
            f"session {folder.path.name[:8]} is {state}: it moves when its turn is over;"
            " --now interrupts it"
        )
    context.exit(_move(app, here, folder, now=now, stays=state.runs))


def _move(app: App, here: App, folder: SessionFolder, *, now: bool, stays: bool) -> int:
    name = folder.path.name
    linger = {"linger": STAY} if stays else {}
    before = here.orchestrator(session_id=name, resume=True)
    there = app.orchestrator(session_id=name, resume=True, **linger)
    was = folder.read_meta()
    try:
        dropped = before.move_to(there, now=now).dropped
    except MPMError:
        app.note(
            f"session {name[:8]} did not move: it is in {was.orchestrator}, where"
            f" claude-mpm resume {name[:8]} goes on with it"
        )
        raise
    waits = read_parked(folder) is not None
    try:
        if not waits:
            show_turns_before(app, there, asks=False)
    finally:
        _leave(there, stays=stays or waits)
    meta = folder.read_meta()
    if app.json:
        app.print_json(
            {"session": name, "from": was.orchestrator, "to": meta.orchestrator, "cwd": meta.cwd,
             "running": stays, "dropped_lines": dropped}
        )  # fmt: skip
    _report(app, folder, was.cwd, stays=stays, dropped=dropped)
    return 0


def _leave(there: MPMOrchestrator, *, stays: bool) -> None:
    """Leave Claude running where it was found so, or end it."""
    if stays and there.running:
        there.detach()
    else:
        there.stop()


def _report(app: App, folder: SessionFolder, was: str, *, stays: bool, dropped: int) -> None:
    meta, name = folder.read_meta(), folder.path.name[:8]
    cwd = meta.cwd or folder.read_place().get("cwd", "") or "the place's own folder"
    verb = "attach" if stays else "resume"
    app.note(
        f"session {name} is in {meta.orchestrator} now, and works in {cwd};"
        f" claude-mpm {verb} {name} goes on with it"
    )
    app.note(f"its files did not move: those of {was or 'the old place'} are still there")
    if dropped:
        app.note(f"{dropped} damaged lines of Claude's record stayed behind")
