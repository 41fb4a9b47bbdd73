"""`claude-mpm run`: one prompt, one turn."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import click

from claude_mpm.cli.app import App, common_options
from claude_mpm.cli.turn_view import show_turn, summary, turn_record
from claude_mpm.errors import MPMError, UsageError

if TYPE_CHECKING:
    from types import FrameType


@click.command()
@click.argument("prompt", required=False)
@click.option("-i", "--input", "text", metavar="PROMPT", help="The prompt.")
@click.option("--session", metavar="ID", help="Name the session.")
@common_options
@click.pass_context
def run(context: click.Context, prompt: str | None, text: str | None, session: str | None) -> None:
    """Give Claude one PROMPT; "-" reads it from standard input.

    The answer goes to standard output, everything else to standard error.
    """
    if prompt is not None and text is not None:
        raise UsageError("the prompt is given twice: as an argument and with -i")
    given = prompt if text is None else text
    if given is None and sys.stdin.isatty():
        raise UsageError('there is no prompt: claude-mpm run "what Claude is to do"')
    if given is None or given == "-":
        given = sys.stdin.read()
    app = context.ensure_object(App)
    if session is not None:
        app.options["session_id"] = session
    context.exit(run_prompt(app, given))


def run_prompt(app: App, prompt: str) -> int:
    """Run one turn from start to stop and return the exit status."""
    if not prompt.strip():
        raise UsageError("the prompt is empty; say what Claude is to do")
    signal.signal(signal.SIGTERM, leave)
    with app.orchestrator() as claude:
        turn = claude.ask(prompt, timeout=app.settings.timeout)
        show_turn(app, turn)
        turn.wait()
    if app.json:
        app.print_json(turn_record(turn, claude.session_id))
    app.note(summary(turn, claude.session_id))
    return turn.verdict.exit_status


def leave(signum: int, _: FrameType | None) -> None:
    """Let the session be stopped before the process ends."""
    raise Terminated(f"ended by signal {signum}")


class Terminated(MPMError):
    """The process was asked to end."""

    exit_status = 128 + signal.SIGTERM
