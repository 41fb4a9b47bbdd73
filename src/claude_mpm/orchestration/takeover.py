"""Taking up a session again: following it where it runs, starting it anew where it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claude_mpm.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.framework import FrameworkLoader
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.orchestration.controller import Controller
    from claude_mpm.store import Store


def take_over(controller: Controller, store: Store, loader: FrameworkLoader, cwd: Path) -> Any:
    """Follow the session, or start its conversation again; return its process.

    What the index has not seen yet comes out first. Prompts that Claude was never heard to
    acknowledge are given to it again: it runs none twice.

    Raises:
        MPMError: there is no such session, or it cannot be started.
    """
    folder = controller.folder
    if not folder.meta_file.exists():
        raise UsageError(f"there is no session {folder.path.name} to resume")
    if folder.has_host():
        return controller.attach(last_turn_start(store, folder))
    store.catch_up(folder)
    return controller.launch(loader.load(), cwd)


def last_turn_start(store: Store, folder: SessionFolder) -> int:
    """Return where in the journal the turn begins that is running, or else the last one."""
    store.catch_up(folder)
    turns = store.index.turns(folder.path.name)
    ended = [turn.end for turn in turns if not turn.origin]
    if ended and ended[-1] == folder.journal.stat().st_size:
        ended.pop()
    return ended[-1] if ended else 0
