"""All sessions of a state folder, and the index over them."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.errors import StorageError, UnknownSession
from claude_mpm.index import Index
from claude_mpm.journal.layout import SessionFolder, session_path, storage_errors
from claude_mpm.session import Session, built_in_processors
from claude_mpm.wire import WIRES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claude_mpm.records import Ticket


def default_state_dir() -> Path:
    """Return the platform's own folder for state, or what CLAUDE_MPM_STATE_DIR names."""
    asked = os.environ.get("CLAUDE_MPM_STATE_DIR")
    if asked:
        return Path(asked).expanduser()
    from platformdirs import user_state_path

    return user_state_path("claude-mpm", appauthor=False)


class Store:
    """Opens, lists and re-reads sessions.

    Args:
        state_dir: the folder of sessions and index; None for the default.
    """

    def __init__(self, state_dir: str | Path | None = None) -> None:
        self.path = Path(state_dir).expanduser().absolute() if state_dir else default_state_dir()
        self._index: Index | None = None

    @property
    def index(self) -> Index:
        """The index; it is opened when it is first needed.

        Raises:
            StorageError: it cannot be read or written.
        """
        if self._index is None:
            self._index = Index(self.path / "index.sqlite")
        return self._index

    def folder(self, session_id: str) -> SessionFolder:
        """Return the folder of a session, which need not exist."""
        return SessionFolder(session_path(self.path, session_id))

    def find(self, prefix: str) -> SessionFolder:
        """Return the session whose id is, or alone begins with, `prefix`.

        Raises:
            UnknownSession: there is none, or several.
        """
        matching = [folder for folder in self.sessions() if folder.path.name.startswith(prefix)]
        exact = [folder for folder in matching if folder.path.name == prefix]
        found = exact or matching
        if len(found) == 1:
            return found[0]
        if not found:
            raise UnknownSession(f"no session {prefix!r} here; `claude-mpm ps --all` lists them")
        names = ", ".join(folder.path.name[: len(prefix) + 8] for folder in found[:5])
        raise UnknownSession(f"{len(found)} sessions begin with {prefix!r}: {names}")

    def sessions(self) -> Iterator[SessionFolder]:
        """Yield every session, the one started last first."""
        root = self.path / "sessions"
        try:
            found = [entry for entry in os.scandir(root) if entry.is_dir()]
        except FileNotFoundError:
            return
        for entry in sorted(found, key=lambda entry: entry.stat().st_mtime, reverse=True):
            folder = SessionFolder(Path(entry.path))
            if folder.meta_file.exists():
                yield folder

    def catch_up(self, folder: SessionFolder) -> None:
        """Bring the index up to what a session's journal holds now.

        Raises:
            StorageError: the record or the index cannot be read or written.
        """
        meta = folder.read_meta()
        start = self.index.position(meta.session_id).cursor
        if start == folder.journal.stat().st_size:
            return
        processors = built_in_processors(
            meta,
            self.index,
            start,
            tickets=meta.options.get("tickets", True),
            markers=meta.options.get("ticket_markers"),
        )
        wire = WIRES[meta.wire]
        over = not folder.has_host()
        session = Session(folder, wire, self.index, processors=processors, is_over=lambda: over)
        with closing(session):
            session.catch_up()

    def catch_up_all(self) -> None:
        """Bring the index up to all journals."""
        for folder in self.sessions():
            self.catch_up(folder)

    def rebuild(self) -> None:
        """Forget all that the index knows and read every journal anew."""
        for folder in self.sessions():
            self.index.forget(folder.path.name)
            self.catch_up(folder)
            for decision in decisions(folder):
                self.index.set_ticket_state(
                    folder.path.name, str(decision.get("ticket")), str(decision.get("state"))
                )

    def set_ticket_state(self, ticket: Ticket, state: str) -> None:
        """Close a ticket or open it again; kept beside the journal, so that it outlives the index.

        Raises:
            StorageError: it could not be kept.
        """
        folder = self.folder(ticket.session)
        note = {"at": time.time(), "ticket": ticket.key, "state": state}
        with storage_errors(folder.decisions):
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            with open(os.open(folder.decisions, flags, 0o600), "ab") as file:
                file.write(msgspec.json.encode(note) + b"\n")
        self.index.set_ticket_state(ticket.session, ticket.key, state)

    def close(self) -> None:
        """Close the index; safe to call twice."""
        if self._index is not None:
            self._index.close()
            self._index = None


def decisions(folder: SessionFolder) -> list[dict[str, Any]]:
    """Return what users decided about a session's tickets, oldest first.

    Raises:
        StorageError: the file is damaged.
    """
    try:
        lines = folder.decisions.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    try:
        return [msgspec.json.decode(line, type=dict[str, Any]) for line in lines]
    except msgspec.DecodeError as error:
        raise StorageError(f"{folder.decisions}: a line is damaged ({error})") from error
