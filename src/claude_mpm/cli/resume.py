"""`claude-mpm resume`: continues a conversation."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

import click

from claude_mpm.cli.app import App
from claude_mpm.cli.attach import end_turn, show_turns_before
from claude_mpm.cli.native_screen import has_screen, show
from claude_mpm.cli.options import as_command, common_options
from claude_mpm.cli.run import given_prompt
from claude_mpm.cli.session_arg import leave_as_found, pick_session, status_now, taken_up
from claude_mpm.errors import UsageError

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.orchestration.orchestrator import MPMOrchestrator
    from claude_mpm.sessions.store import Store


@click.command()
@click.argument("session", required=False, metavar="[ID]")
@click.argument("prompt", required=False)
@click.option("-i", "--input", "text", metavar="PROMPT", help="The prompt.")
@as_command
@common_options
@click.pass_context
def resume(
    context: click.Context,
    session: str | None,
    prompt: str | None,
    text: str | None,
    command: bool,
) -> None:
    """Go on with the session ID, or with the newest one.

    Claude is followed where it still runs, and is left running then; else it is started on the
    same conversation, with what the session was started with unless a flag says otherwise. The
    framework is read again. With a PROMPT it is one turn, as with `run`; without, on a terminal,
    a conversation. Prompts that Claude never heard of come first.
    """
    prompt_text = given_prompt(prompt, text)
    app = context.ensure_object(App)
    with closing(app.store()) as store:
        folder = pick_session(store, session)
        _let_it_end(app, store, folder)
        if prompt_text is not None and not prompt_text.strip():
            prompt_text = ""
            _check_undelivered(store, folder)
    app.end_signals.catch()
    if prompt_text is None:
        context.exit(_converse(app, folder))
    context.exit(_one_turn(app, folder, prompt_text, command=command))


def _let_it_end(app: App, store: Store, folder: SessionFolder) -> None:
    """Where Claude takes no more input, wait until it has finished its turn."""
    from claude_mpm.engine.follow import read_to_end

    if status_now(store, folder).state.runs and folder.closed.exists():
        app.note("nobody followed this session, so its Claude finishes its turn and ends first")
        read_to_end(folder, store)


def _check_undelivered(store: Store, folder: SessionFolder) -> None:
    from claude_mpm.journal.rate_limited import read_parked
    from claude_mpm.sessions.status import undelivered

    if not undelivered(folder, store.index) and read_parked(folder) is None:
        name = folder.path.name[:8]
        raise UsageError(f'there is no prompt: claude-mpm resume {name} "what Claude is to do"')


def _one_turn(app: App, folder: SessionFolder, prompt: str, *, command: bool) -> int:
    """Run what was left undelivered and then a prompt, if there is one."""
    claude = taken_up(app, folder)
    try:
        claude.start_or_raise()
        _note_owner(app, claude)
        if not prompt:
            return show_turns_before(app, claude, asks=False)
        turn = claude.ask(prompt, timeout=app.settings.timeout, command=command)
        _note_turns_before(app, claude)
        end_turn(app, turn, claude.session_id)
    finally:
        leave_as_found(app, claude)
    return turn.verdict.exit_status


def _note_owner(app: App, claude: MPMOrchestrator) -> None:
    """Print which other process owns the session."""
    owner = claude.owner
    if claude.attached and owner is not None and owner.pid != os.getpid():
        app.note(f"session {claude.session_id[:8]} is followed beside {owner}, which has it")


def _note_turns_before(app: App, claude: MPMOrchestrator) -> None:
    """Print that the answer has to wait; text until then does not answer the prompt."""
    given_again = [turn for turn in claude.turns_before if turn.name]
    if given_again:
        name = claude.session_id[:8]
        app.note(f"{len(given_again)} earlier prompts come first; see claude-mpm logs {name}")


def _converse(app: App, folder: SessionFolder) -> int:
    from claude_mpm.cli.chat import converse, say_goodbye

    if has_screen(folder):
        return show(app, taken_up(app, folder))
    claude = taken_up(app, folder, permissions="ask", partial=True)
    try:
        claude.start_or_raise()
        app.note(f"claude-mpm · session {claude.session_id[:8]} · /help, Ctrl-D leaves")
        show_turns_before(app, claude, asks=True)
        status = converse(app, claude) if claude.running else 1
    finally:
        leave_as_found(app, claude)
    say_goodbye(app, claude)
    return status
