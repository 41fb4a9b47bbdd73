"""All sessions of a state folder, and the index over them."""

from __future__ import annotations

import os
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import msgspec

from claude_mpm.errors import SettingsError, StorageError, UnknownSession
from claude_mpm.folders import check_private, user_folder
from claude_mpm.journal.layout import Meta, SessionFolder, session_path
from claude_mpm.journal.storage import storage_errors
from claude_mpm.sessions.index import Index
from claude_mpm.sessions.settled import Settled, stamp
from claude_mpm.validation import NOT_JSON
from claude_mpm.wire import WIRES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from claude_mpm.records import Delegation, Ticket

    OnError = Callable[[SessionFolder, StorageError], None]


def default_state_dir() -> Path:
    """Return the platform's own folder for state, or what CLAUDE_MPM_STATE_DIR names.

    Raises:
        SettingsError: it is below the home of a user who has none.
    """
    asked = os.environ.get("CLAUDE_MPM_STATE_DIR")
    try:
        return Path(asked).expanduser() if asked else user_folder("state")
    except RuntimeError as error:
        raise SettingsError(
            "there is no home folder for sessions: set HOME, or CLAUDE_MPM_STATE_DIR"
        ) from error


# One connection for each index of this process: each takes 100 KiB and three open files.
_indexes: WeakValueDictionary[Path, Index] = WeakValueDictionary()
# Held while somebody, in any thread, begins or ends to share an index; guards `_indexes`.
_sharing = threading.Lock()


def _shared_index(path: Path) -> Index:
    with _sharing:
        index = _indexes.get(path)
        if index is None or not index.is_in_place():
            index = _indexes[path] = Index(path)
        index.hold()
        return index


def _release(index: Index) -> None:
    with _sharing:
        if index.release():
            index.close()
            if _indexes.get(index.path) is index:
                del _indexes[index.path]


class Store:
    """Opens, lists and re-reads sessions.

    Args:
        state_dir: the folder of sessions and index; None for the default.
    """

    __slots__ = ("_index", "_interrupted", "path")

    def __init__(self, state_dir: str | Path | None = None) -> None:
        self.path = Path(state_dir).expanduser().absolute() if state_dir else default_state_dir()
        self._index: Index | None = None
        self._interrupted = False  # set by any thread; looked at by those that read

    @property
    def index(self) -> Index:
        """The index; it is opened when it is first needed.

        Raises:
            StorageError: it cannot be read or written.
        """
        if self._index is None:
            check_private(self.path)
            self._index = _shared_index(self.path / "index.sqlite")
        return self._index

    def folder(self, session_id: str) -> SessionFolder:
        """Return the folder of a session, which need not exist.

        Raises:
            StorageError: others can write to the folder of sessions.
        """
        self._check()
        return SessionFolder(session_path(self.path, session_id))

    def _check(self) -> None:
        """Make sure that nobody else can have put a session here: its record is obeyed."""
        for folder in (self.path, self.path / "sessions"):
            check_private(folder)

    def find(self, prefix: str) -> SessionFolder:
        """Return the session whose id is, or alone begins with, `prefix`.

        Raises:
            UnknownSession: there is none, or several.
        """
        return _only(prefix, self.named(prefix))

    def named(self, prefix: str) -> list[SessionFolder]:
        """Return the sessions whose ids begin with `prefix`; none where it is empty."""
        return [folder for folder in self._named(prefix) if folder.meta_file.exists()]

    def find_folder(self, prefix: str) -> SessionFolder:
        """Return the folder of a session as `find` does, also of one without a record."""
        return _only(prefix, self._named(prefix))

    def _named(self, prefix: str) -> list[SessionFolder]:
        """Return the folders whose names begin so, none for an empty name; no folder is opened."""
        entries = self.entries() if prefix else ()
        return [SessionFolder(Path(e.path)) for e in entries if e.name.startswith(prefix)]

    def sessions(self) -> Iterator[SessionFolder]:
        """Yield every session, the one started last first.

        Raises:
            StorageError: others can write to the folder of sessions.
        """
        return (folder for folder in self.folders() if folder.meta_file.exists())

    def folders(self) -> Iterator[SessionFolder]:
        """Yield the folder of every session, also of one that has no record, or none yet.

        Raises:
            StorageError: others can write to the folder of sessions.
        """
        for entry in self.entries():
            yield SessionFolder(Path(entry.path))

    def entries(self) -> Sequence[os.DirEntry[str]]:
        """Return the folders of `folders` as entries of theirs, each with its times.

        Raises:
            StorageError: others can write to the folder of sessions.
        """
        self._check()
        try:
            with os.scandir(self.path / "sessions") as entries:
                found = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
        except (FileNotFoundError, NotADirectoryError):
            return ()
        return sorted(found, key=lambda entry: entry.stat().st_mtime, reverse=True)

    def catch_up(self, folder: SessionFolder) -> None:
        """Bring the index up to what a session's journal holds now.

        Raises:
            StorageError: the record or the index cannot be read or written.
        """
        meta = folder.read_meta()
        start = self.index.position(meta.session_id).cursor
        with storage_errors(folder.journal):
            size = folder.journal.size()
            if start > size:  # a power cut took what the index knows of
                self._rebuild_one(folder)
            elif start != size:
                self._read_from(folder, meta, start)

    def _read_from(self, folder: SessionFolder, meta: Meta, start: int) -> None:
        from claude_mpm.sessions.pipeline import built_in_processors
        from claude_mpm.sessions.reader import Session, Unfinished, Written

        processors = built_in_processors(meta, folder, self.index, start)
        wire = WIRES[meta.wire]
        source = Written() if folder.has_ended() else Unfinished()
        session = Session(
            folder, wire, self.index, processors=processors, source=source, waits=False
        )
        with closing(session):
            for _ in session.catch_up():
                if self._interrupted:
                    break

    def interrupt(self) -> None:
        """Let each `catch_up` end at once, from any thread; another store goes on where it was."""
        self._interrupted = True

    def catch_up_all(self, on_error: OnError | None = None) -> None:
        """Bring the index up to all journals.

        Args:
            on_error: called for each session that cannot be read; without it, the first raises.

        Raises:
            StorageError: the index cannot be read or written.
        """
        settled = Settled(self.index)  # one that is damaged raises here, and is no session's fault
        for entry in self.entries():
            stamped = stamp(entry)
            if settled.row(entry, stamped) is not None:
                continue
            folder = SessionFolder(Path(entry.path))
            if not folder.meta_file.exists():
                continue
            try:
                self.catch_up(folder)
                settled.note(folder, stamped)
            except StorageError as error:
                if on_error is None:
                    raise
                on_error(folder, error)
        settled.save()

    def rebuild(self, on_error: OnError | None = None) -> None:
        """Forget all that the index knows and read every journal again; as `catch_up_all`."""
        with self.index.in_few_transactions():
            self.index.forget_all()  # a damaged index raises here, and is no session's fault
            for folder in self.sessions():
                try:
                    self._read_again(folder)
                except StorageError as error:
                    if on_error is None:
                        raise
                    on_error(folder, error)

    def _rebuild_one(self, folder: SessionFolder) -> None:
        self.index.forget(folder.path.name)
        self._read_again(folder)

    def _read_again(self, folder: SessionFolder) -> None:
        """Read a session of which the index knows nothing, with what users decided about it."""
        session = folder.path.name
        self.catch_up(folder)
        for decision in decisions(folder):
            for kind in ("ticket", "delegation"):
                if kind in decision:
                    state = str(decision.get("state"))
                    self.index.set_state(kind, session, str(decision[kind]), state)

    def set_ticket_state(self, ticket: Ticket, state: str) -> None:
        """Close a ticket or open it again; kept beside the journal, so that it outlives the index.

        Raises:
            StorageError: it could not be kept.
        """
        self._decide("ticket", ticket, state)

    def close_delegation(self, delegation: Delegation) -> None:
        """Count a delegation that has not ended as closed; kept as a ticket's state is.

        Raises:
            StorageError: it could not be kept.
        """
        self._decide("delegation", delegation, "closed")

    def _decide(self, kind: str, record: Ticket | Delegation, state: str) -> None:
        folder = self.folder(record.session)
        note = {"at": time.time(), kind: record.key, "state": state}
        folder.append(folder.decisions, msgspec.json.encode(note).decode())
        self.index.set_state(kind, record.session, record.key, state)

    def close(self) -> None:
        """Close the index; safe to call twice."""
        if self._index is not None:
            _release(self._index)
            self._index = None


def decisions(folder: SessionFolder) -> list[dict[str, Any]]:
    """Return what users decided about what is in a session, oldest first.

    Raises:
        StorageError: the file is damaged.
    """
    try:
        lines = folder.decisions.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    try:
        return [msgspec.json.decode(line, type=dict[str, Any]) for line in lines]
    except NOT_JSON as error:
        raise StorageError(f"{folder.decisions}: a line is damaged ({error})") from error


def _only(prefix: str, matching: Sequence[SessionFolder]) -> SessionFolder:
    exact = [folder for folder in matching if folder.path.name == prefix]
    found = exact or matching
    if len(found) == 1:
        return found[0]
    if not found:
        raise UnknownSession(f"no session {prefix!r} here; `claude-mpm ps --all` lists them")
    names = ", ".join(folder.path.name[: len(prefix) + 8] for folder in found[:5])
    raise UnknownSession(f"{len(found)} sessions begin with {prefix!r}: {names}")
