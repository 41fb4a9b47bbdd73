"""Journals that come bit by bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_mpm.sessions.store import Store

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder


def read_in_parts(folder: SessionFolder, *parts: bytes) -> Store:
    """Write a journal part by part, and have each read by a reader of its own."""
    store = Store(folder.path.parents[1])
    for number, part in enumerate(parts, 1):
        with folder.journal.path.open("ab") as journal:
            journal.write(part)
        if number == len(parts):
            folder.exit_file.write(b"0\n")
        store.catch_up(folder)
    return store
