"""Claude Code's native interface on the user's terminal, as a screen of a session."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from claude_mpm.cli.output import is_dumb
from claude_mpm.errors import SessionEnded
from claude_mpm.wire import Transcript

if TYPE_CHECKING:
    from claude_mpm.cli.app import App
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.orchestration.orchestrator import MPMOrchestrator

TERMINAL = "terminal"


def on_terminal() -> bool:
    """Return whether input and output are a terminal that can show a screen."""
    return sys.stdin.isatty() and sys.stdout.isatty() and not is_dumb()


def is_meant(app: App) -> bool:
    """Return whether the native interface is the default without a command."""
    chosen = app.settings.orchestrator == TERMINAL
    return on_terminal() and (chosen or app.resolved.origin["orchestrator"] == "default")


def has_screen(folder: SessionFolder) -> bool:
    """Return whether to show a session's screen: it was started on a terminal."""
    return on_terminal() and folder.read_meta().wire == Transcript.name


def open_screen(app: App) -> int:
    """Start a session in the native interface and return the exit status."""
    app.choose_orchestrator(TERMINAL)
    app.end_signals.catch()
    return show(app, app.orchestrator())


def show(app: App, claude: MPMOrchestrator) -> int:
    """Show a session until its Claude ends or this terminal does; return the exit status.

    Claude is ended if this process has started it and receives SIGTERM; if the terminal was closed,
    it waits for the next follower, by the linger rule.
    """
    from claude_mpm.cli.chat import say_goodbye
    from claude_mpm.terminal.client import ScreenEnd, show_screen

    _wait_for_screen(claude)
    _keep_off_screen(claude)
    folder = claude.store.folder(claude.session_id)
    end = None
    try:
        claude.start_or_raise()
        end = show_screen(_socket(folder))
    finally:
        if end is ScreenEnd.ENDED:
            claude.process.wait()
        goes_on = claude.running and claude.process.poll() is None
        goes_on = goes_on and (end is not None or claude.attached)
        claude.detach() if goes_on else claude.stop()
    if goes_on:
        name = claude.session_id[:8]
        app.note(f"session {name} is left running; claude-mpm attach {name} goes on with it")
    else:
        say_goodbye(app, claude)
    return 1 if end is ScreenEnd.LOST else folder.exit_status() or 0


def _wait_for_screen(claude: MPMOrchestrator) -> None:
    """Let the host wait for this terminal, which Claude queries when it starts."""
    from claude_mpm.environments.terminal import Terminal

    if isinstance(claude.environment, Terminal):
        claude.environment.screen = True


def _keep_off_screen(claude: MPMOrchestrator) -> None:
    """Log nothing to standard error, which is the same terminal."""
    for handler in tuple(claude.logger.handlers):
        if getattr(handler, "stream", None) is sys.stderr:
            claude.logger.removeHandler(handler)


def _socket(folder: SessionFolder) -> str:
    try:
        return folder.screen.read_text("utf-8").strip()
    except FileNotFoundError as error:
        name = folder.path.name[:8]
        raise SessionEnded(f"session {name} has ended; claude-mpm resume {name}") from error
