"""The session that a command line names, and its status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_mpm.cli.end_signals import end_or_leave
from claude_mpm.errors import UnknownSession, UsageError

if TYPE_CHECKING:
    from claude_mpm.cli.app import App
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.orchestration.orchestrator import MPMOrchestrator
    from claude_mpm.sessions.status import Status
    from claude_mpm.sessions.store import Store


def pick_session(store: Store, prefix: str | None) -> SessionFolder:
    """Return the session `prefix`, or the only one that begins with it; the newest without one.

    Raises:
        UnknownSession: there is none, or several.
    """
    if prefix is not None:
        return store.find(prefix)
    newest = next(store.sessions(), None)
    if newest is None:
        raise UnknownSession('there is no session yet; claude-mpm run "…" starts one')
    return newest


def status_now(store: Store, folder: SessionFolder) -> Status:
    """Return the status of a session, with its index brought up to date.

    Raises:
        StorageError: the session is damaged.
    """
    from claude_mpm.sessions.status import read_status

    store.catch_up(folder)
    return read_status(folder, store.index)


def taken_up(app: App, folder: SessionFolder, **options: object) -> MPMOrchestrator:
    """Return an orchestrator that resumes a session, with the settings of its start.

    Raises:
        StorageError: the session's record is damaged.
        UsageError: nobody can tell where its turns end.
    """
    from claude_mpm.wire import WIRES

    meta = folder.read_meta()
    if not WIRES[meta.wire].structured:
        name = meta.session_id[:8]
        raise UsageError(f"session {name} has no turns, only text; claude-mpm logs -f {name}")
    app.recall(folder)
    app.know(folder)
    return app.orchestrator(session_id=meta.session_id, resume=True, **options)


def leave_as_found(app: App, claude: MPMOrchestrator) -> None:
    """End a Claude that this process has started; detach from one that ran before, and say so."""
    if end_or_leave(claude):
        keep_watched(app, claude)
        name = claude.session_id[:8]
        app.note(f"session {name} is left running; claude-mpm stop {name} ends it")


def keep_watched(app: App, claude: MPMOrchestrator) -> None:
    """Have a session that is left running watched, if the settings name who is notified."""
    if claude.options.notify is None:
        return
    from claude_mpm.engine.session_watcher import start_watcher

    try:
        start_watcher(claude.store.folder(claude.session_id), claude.store, claude.options.notify)
    except OSError as error:
        app.note(f"session {claude.session_id[:8]} notifies nobody: {error}")


def remove_unstarted(app: App, folder: SessionFolder) -> bool:
    """Remove what a start that was killed has left in the session's place; return whether it has.

    Raises:
        MPMError: the place does not answer, or the session's record is damaged.
    """
    one = app.copy()
    one.recall(folder)
    claude = one.orchestrator(session_id=folder.path.name, resume=True)
    try:
        return claude.environment.remove_unstarted(folder)
    finally:
        claude.stop()


def end_session(app: App, folder: SessionFolder) -> str:
    """End the Claude of a session, whoever started it, and return in one line how it ended.

    Raises:
        MPMError: the session cannot be taken up, or its place does not answer.
    """
    one = app.copy()  # its settings are of this session alone
    one.recall(folder)
    claude = one.orchestrator(session_id=folder.path.name, resume=True)
    try:
        return claude.end_session()
    finally:
        claude.stop()
