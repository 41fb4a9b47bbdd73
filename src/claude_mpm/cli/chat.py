"""`claude-mpm` on a terminal: a conversation."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from claude_mpm.cli.output import echo
from claude_mpm.cli.turn_view import count, show_turn, summary
from claude_mpm.errors import SessionEnded

if TYPE_CHECKING:
    from claude_mpm.cli.app import App
    from claude_mpm.orchestration.orchestrator import MPMOrchestrator

_HELP = "/tickets  /delegations  /help  /quit; Ctrl-C interrupts an answer, Ctrl-D leaves"


def chat(app: App) -> int:
    """Hold a conversation and return the exit status."""
    app.end_signals.catch()
    with app.orchestrator(permissions="ask", partial=True) as claude:
        app.know(claude.store.folder(claude.session_id))
        app.note(f"claude-mpm · session {claude.session_id[:8]} · {_HELP}")
        status = converse(app, claude)
    say_goodbye(app, claude)
    return status


def converse(app: App, claude: MPMOrchestrator) -> int:
    """Read prompts and show their turns until the person leaves or Claude ends."""
    while True:
        try:
            text = _read_prompt()
        except EOFError:
            return 0
        except KeyboardInterrupt:
            app.note("(Ctrl-D or /quit leaves)")
            continue
        match text:
            case "":
                continue
            case "/quit" | "/exit":
                return 0
            case "/help":
                app.note(_HELP)
            case "/tickets":
                _show_tickets(app, claude)
            case "/delegations":
                _show_delegations(app, claude)
            case _:
                if not _turn(app, claude, text):
                    return 1


def _read_prompt() -> str:
    """Read one line, with editing and history if the terminal supports them."""
    with suppress(ImportError):
        import readline  # noqa: F401 -- importing it gives `input` its line editing
    if sys.stdout.isatty():
        return input("› ").strip()
    echo("› ", nl=False, err=True)
    return input().strip()


def _turn(app: App, claude: MPMOrchestrator, text: str) -> bool:
    """Run one turn; return False if Claude has ended."""
    try:
        turn = claude.ask(text, timeout=app.settings.timeout, command=True)  # it was typed
    except SessionEnded as error:
        app.note(str(error))
        return False
    show_turn(app, turn, asks=True)
    app.note(summary(turn, claude.session_id), dim=True)
    return claude.running


def _show_tickets(app: App, claude: MPMOrchestrator) -> None:
    tickets = claude.store.index.tickets(claude.session_id)
    app.print_table(("key", "type", "title"), [(t.key, t.type, t.title) for t in tickets])


def _show_delegations(app: App, claude: MPMOrchestrator) -> None:
    made = claude.store.index.delegations(claude.session_id)
    rows = [(d.agent, d.state, d.description or d.prompt) for d in made]
    app.print_table(("agent", "state", "task"), rows)


def say_goodbye(app: App, claude: MPMOrchestrator) -> None:
    """Print a summary of a conversation, and how to resume it."""
    store = app.store()
    position = store.index.position(claude.session_id)
    tickets = store.index.tickets(claude.session_id)
    store.close()
    app.note(
        f"{count(position.turns, 'turn')}, ${position.cost_usd:.4f},"
        f" {count(len(tickets), 'ticket')}; go on with: claude-mpm resume {claude.session_id[:8]}"
    )
