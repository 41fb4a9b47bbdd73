"""`claude-mpm send`: a prompt for a session that runs."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import click

from claude_mpm.cli.app import App
from claude_mpm.cli.attach import end_turn
from claude_mpm.cli.options import as_command, common_options
from claude_mpm.cli.output import echo
from claude_mpm.cli.run import given_prompt, put_prompt
from claude_mpm.cli.session_arg import pick_session, status_now, taken_up
from claude_mpm.errors import SessionEnded, UsageError

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder


@click.command()
@click.argument("session", metavar="ID")
@click.argument("prompt", required=False)
@click.option("-i", "--input", "text", metavar="PROMPT", help="The prompt.")
@click.option("--wait", "waits", is_flag=True, help="Wait for the answer and print it.")
@as_command
@common_options
@click.pass_context
def send(
    context: click.Context,
    session: str,
    prompt: str | None,
    text: str | None,
    waits: bool,
    command: bool,
) -> None:
    """Give the running session ID a PROMPT and leave; "-" reads it from standard input.

    Where Claude is at work it takes the prompt up between two tool calls, or when its turn is
    over. With --wait the prompt waits for the end of that turn and has a turn of its own.
    """
    prompt_text = given_prompt(prompt, text)
    if prompt_text is None or not prompt_text.strip():
        raise UsageError(f'there is no prompt: claude-mpm send {session} "what Claude is to do"')
    app = context.ensure_object(App)
    with closing(app.store()) as store:
        folder = pick_session(store, session)
        if not status_now(store, folder).state.runs:
            name = folder.path.name[:8]
            raise SessionEnded(
                f'session {name} has ended; claude-mpm resume {name} "…" goes on with it'
            )
    app.end_signals.catch()
    give = _ask if waits else _put
    context.exit(give(app, folder, prompt_text, command=command))


def _ask(app: App, folder: SessionFolder, prompt: str, *, command: bool) -> int:
    """Give a prompt, show its turn and return the exit status."""
    claude = taken_up(app, folder)
    claude.start_or_raise()
    try:
        turn = claude.ask(prompt, timeout=app.settings.timeout, command=command)
        end_turn(app, turn, claude.session_id)
    finally:
        claude.detach()
    return turn.verdict.exit_status


def _put(app: App, folder: SessionFolder, prompt: str, *, command: bool) -> int:
    """Give a prompt and return the exit status once Claude has heard of it."""
    uuid, state = put_prompt(app, folder, prompt, command=command)
    if app.json:
        app.print_json({"session": folder.path.name, "uuid": uuid, "state": state})
    else:
        echo(f"{uuid} {state}")
    return 0
