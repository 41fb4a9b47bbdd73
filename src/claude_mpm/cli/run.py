"""`claude-mpm run`: one prompt, one turn."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING

from claude_mpm.cli.output import echo
from claude_mpm.cli.session_arg import keep_watched, taken_up
from claude_mpm.cli.streams import OutputLost
from claude_mpm.cli.turn_view import show_turn, summary, turn_record
from claude_mpm.errors import UsageError
from claude_mpm.printable import one_line
from claude_mpm.validation import as_text, check_prompt

if TYPE_CHECKING:
    from claude_mpm.cli.app import App
    from claude_mpm.journal.layout import SessionFolder

STAY = 1e9  # seconds: Claude waits for the next follower until it is stopped
_ACKNOWLEDGED = 10.0  # seconds to wait until Claude acknowledges a prompt


def run_given(
    app: App,
    prompt: str | None = None,
    text: str | None = None,
    session: str | None = None,
    *,
    detach: bool = False,
    command: bool = False,
) -> int:
    """Give Claude a prompt as `claude-mpm run` does, and return the exit status.

    Args:
        prompt, text: the argument, and the value of `-i`; one of them at most.
        session: the session's name; None for a new one.
        detach: whether Claude is left running.
        command: whether Claude Code takes the prompt as typed.

    Raises:
        UsageError: there is no prompt, or there are two.
    """
    prompt_text = given_prompt(prompt, text)
    if prompt_text is None:
        raise UsageError('there is no prompt: claude-mpm run "what Claude is to do"')
    if session is not None:
        app.options["session_id"] = session
    start = run_detached if detach else run_prompt
    return start(app, prompt_text, command=command)


def given_prompt(prompt: str | None, text: str | None) -> str | None:
    """Return the prompt of a command line; None if there is none, and standard input is a terminal.

    Args:
        prompt: the argument; "-" means standard input, and so does None if that is piped.
        text: the value of `-i`.

    Raises:
        UsageError: both were given.
    """
    if prompt is not None and text is not None:
        raise UsageError("the prompt is given twice: as an argument and with -i")
    prompt_text = prompt if text is None else text
    if prompt_text == "-" or (prompt_text is None and not sys.stdin.isatty()):
        return read_prompt()
    return None if prompt_text is None else as_text(prompt_text)


def read_prompt() -> str:
    """Return the whole standard input.

    Raises:
        UsageError: it is not UTF-8.
    """
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"the prompt is not UTF-8: the byte at offset {error.start}; convert it with iconv"
        ) from error


def run_prompt(app: App, prompt: str, *, command: bool = False) -> int:
    """Run one turn from start to stop and return the exit status."""
    check_prompt(prompt)
    app.end_signals.catch()
    asks = sys.stdin.isatty() and app.settings.permissions == "ask"
    claude = app.orchestrator()
    claude.begin_with(prompt, timeout=app.settings.timeout, command=command)
    with claude:
        app.know(claude.store.folder(claude.session_id))
        turn = claude.first_turn()
        show_turn(app, turn, asks=asks)
        turn.wait()
    turn.cut_off()
    if claude.storage_error is not None:
        echo(f"claude-mpm: {one_line(claude.storage_error)}", err=True)
    if app.json:
        app.print_json(turn_record(turn, claude.session_id))
    app.note(summary(turn, claude.session_id))
    return turn.verdict.exit_status


def run_detached(app: App, prompt: str, *, command: bool = False) -> int:
    """Start Claude on a prompt, leave it running and return the exit status.

    Raises:
        OutputLost: the session's id could not be printed, so the session is stopped.
    """
    check_prompt(prompt)
    app.end_signals.catch()
    claude = app.orchestrator(linger=STAY)
    claude.begin_with(prompt, command=command)
    with claude:
        turn = claude.first_turn()
        state = acknowledged(app, claude.session_id, turn.uuid)
        try:
            if app.json:
                app.print_json({"session": claude.session_id, "uuid": turn.uuid, "state": state})
            else:
                echo(claude.session_id)
        except OutputLost as error:  # `with` stops what is not detached
            raise OutputLost(
                f"session {claude.session_id[:8]} is stopped, since its id could not be printed:"
                f" {error}"
            ) from error
        claude.detach()
        keep_watched(app, claude)
    if not app.json:
        name = claude.session_id[:8]
        app.note(f"left running; claude-mpm attach {name} follows it, stop {name} ends it")
    return 0


def put_prompt(
    app: App, folder: SessionFolder, prompt: str, *, command: bool = False
) -> tuple[str, str]:
    """Give a prompt to a session that another process has started; return its uuid and its state.

    That is once Claude has acknowledged it.
    """
    from claude_mpm.journal.prompts import last_prompt

    since = folder.journal.size()
    claude = taken_up(app, folder)
    claude.start_or_raise()
    try:
        give = claude.send_command if command else claude.send_input
        give(prompt)
        sent = last_prompt(folder)
        uuid = sent.uuid if sent is not None else ""
        return uuid, acknowledged(app, claude.session_id, uuid, since)
    finally:
        claude.detach()


def acknowledged(app: App, session_id: str, uuid: str, since: int = 0) -> str:
    """Wait until Claude has acknowledged a prompt, and return the prompt's state."""
    from claude_mpm.engine.follow import wait_for_acknowledgement

    with closing(app.store()) as store:
        folder = store.folder(session_id)
        state = wait_for_acknowledgement(folder, store, uuid, since=since, timeout=_ACKNOWLEDGED)
    return state or "put"
