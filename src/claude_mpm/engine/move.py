"""Taking a session to another place: Claude's record of the conversation goes with it.

The session stays one, with one folder and one journal; only what its record says of the place is
changed. Until Claude has started in the other place, everything can be undone.
"""

from __future__ import annotations

import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.engine.command_line import claude_environment
from claude_mpm.engine.options import kept_options
from claude_mpm.environments.record_store import (
    DRAFT,
    LARGEST,
    MOST,
    OF_THE_PLACE,
    RecordFile,
    kind_of,
    project_name,
)
from claude_mpm.errors import LaunchError, MPMError, StorageError, UsageError
from claude_mpm.journal.lease import Ownership
from claude_mpm.journal.storage import remove_tree
from claude_mpm.sessions.status import has_conversation, held_conversation
from claude_mpm.validation import NOT_JSON

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_mpm.engine.live_session import LiveSession
    from claude_mpm.environments.base import Environment
    from claude_mpm.environments.record_store import RecordStore
    from claude_mpm.journal.layout import Meta, SessionFolder

_LOOK_AGAIN = 0.1  # seconds


class _Subagent(msgspec.Struct, omit_defaults=True, rename="camel"):
    """What goes along of `agent-ID.meta.json`, which has its mode and folders, too."""

    agent_type: str = ""
    description: str = ""


class Move:
    """Moves one session.

    Args:
        source: the session in the place where it is.
        target: the same session in the place where it goes.

    Attributes:
        dropped: how many lines of the record stayed behind, as they are no lines of a transcript.
    """

    def __init__(self, source: LiveSession, target: LiveSession) -> None:
        self._from = source
        self._to = target
        self._before: Meta | None = None
        self._store: RecordStore | None = None  # that of the target, once something was put there
        self._kept: tuple[str, str] | None = None  # the conversation, and its project folder there
        self.dropped = 0

    def check(self) -> Meta:
        """Make sure, before anything is ended, that the session can be moved, as far as that shows.

        Raises:
            UsageError: there is no such session, or its conversation is of a kind that stays.
            MPMError: the other place cannot be reached, or lacks something.
        """
        folder, place = self._from.folder, self._to.environment
        if not folder.meta_file.exists():
            raise UsageError(f"there is no session {folder.path.name} to move")
        meta = folder.read_meta()
        if meta.wire != self._to.options.wire or meta.wire != "stream-json":
            raise UsageError(
                f"session {folder.path.name} cannot be moved to {place.name}: a conversation of"
                " Claude's own interface, or one that is text alone, stays where it is"
            )
        place.reach()
        claude = place.find_claude(self._to.options.claude_path)
        cwd = place.working_folder(self._to.options.cwd)
        if place.keeps_files and place.runs_commands and not place.shares_files:
            from claude_mpm.environments.linked import probe

            probe(place, claude, cwd)
        return meta

    def carry(self, live: LiveSession) -> None:
        """Bring the record to the other place, and note that the session is there.

        Args:
            live: the session that is about to be started there; it owns the session from now on.

        Raises:
            NotOwner: another process has the session.
            StorageError: the record is damaged, or too large.
            LaunchError: the record is not where it should be, or did not arrive.
        """
        folder = live.folder
        _claim(live)
        if folder.has_host():
            raise LaunchError(f"session {folder.path.name} runs again; move it again")
        self.undo_put()
        self._before = before = self._before or folder.read_meta()
        live.store.catch_up(folder)
        conversation = held_conversation(folder) or before.claude_session_id
        for left in folder.path.glob(f"{DRAFT}*"):  # by one that was killed
            remove_tree(left)
        with tempfile.TemporaryDirectory(dir=folder.path, prefix=DRAFT) as draft:
            files = self._fetch(conversation, before, Path(draft))
            if not files and has_conversation(folder, live.store.index):
                raise LaunchError(
                    f"{self._from.environment.name}: Claude's record of session"
                    f" {folder.path.name} is not there, so it is not moved"
                )
            self._put(conversation, files, Path(draft))
        folder.write_meta(self._moved(before))

    def _fetch(self, conversation: str, meta: Meta, draft: Path) -> list[RecordFile]:
        """Copy the record into a folder of our own, and return its files."""
        store = _records(self._from)
        found = store.files(conversation)
        used = project_name(store.real_folder(meta.cwd)) if found and meta.cwd else ""
        names = [file.project for file in found]
        project = used if used in names else next(iter(names), "")
        chosen = [file for file in found if file.project == project]
        self._check_size(chosen)
        return [self._bring(store, file, draft / str(at)) for at, file in enumerate(chosen)]

    def _check_size(self, files: Sequence[RecordFile]) -> None:
        """Refuse more than a record has; the place may say anything.

        Raises:
            StorageError: it is more.
        """
        size = sum(file.size for file in files)
        if len(files) > MOST or size > LARGEST:
            raise StorageError(
                f"{self._from.environment.name}: Claude's record of the conversation has"
                f" {len(files)} files and {size} bytes, and no more than {MOST} and {LARGEST} are"
                " moved; begin a new session there"
            )

    def _bring(self, store: RecordStore, file: RecordFile, draft: Path) -> RecordFile:
        """Copy one file; of a transcript, what is no line of one is left out, and counted."""
        with draft.open("wb") as copy:
            for piece in store.pieces(file):
                copy.write(piece)
        if file.name.endswith(".jsonl"):
            self._sift(draft)
        elif "/subagents/" in file.name:
            self._sift_beside(draft)
        return msgspec.structs.replace(file, size=draft.stat().st_size)

    def _sift(self, draft: Path) -> None:
        sifted = draft.with_suffix(".sifted")
        with draft.open("rb") as lines, sifted.open("wb") as kept:
            for line in lines:
                kind = kind_of(line)
                self.dropped += kind is None
                if kind is not None and kind not in OF_THE_PLACE:
                    kept.write(line if line.endswith(b"\n") else line + b"\n")
        sifted.replace(draft)

    def _sift_beside(self, draft: Path) -> None:
        """Leave of what is noted of a subagent only who it was: the rest is rights and paths."""
        try:
            noted = msgspec.json.decode(draft.read_bytes(), type=_Subagent)
        except NOT_JSON:
            noted = _Subagent()
            self.dropped += 1
        draft.write_bytes(msgspec.json.encode(noted))

    def _put(self, conversation: str, files: Sequence[RecordFile], draft: Path) -> None:
        if not files:
            return
        self._store = store = _records(self._to)
        place = self._to.environment
        project = project_name(store.real_folder(place.working_folder(self._to.options.cwd)))
        for at, file in enumerate(files):
            with (draft / str(at)).open("rb") as source:
                store.put(msgspec.structs.replace(file, project=project), source)
        store.settle()
        self._kept = conversation, project

    def _moved(self, meta: Meta) -> Meta:
        """Return the record of the session as one of the other place."""
        to = self._to
        return msgspec.structs.replace(
            meta,
            orchestrator=to.kind,
            environment=to.environment.name,
            cwd=to.environment.working_folder(to.options.cwd),
            options=kept_options(to.options),
            place=to.place,
        )

    def keep(self) -> None:
        """Confirm the move: what the session alone had in the old place is removed."""
        if self._store is not None and self._kept is not None:
            with suppress(MPMError):  # older copies that stay do no harm
                self._store.keep(*self._kept)
        with suppress(MPMError):
            _records(self._from).leave(self._store)

    def undo(self) -> None:
        """Undo the move, unless another process has taken the session up meanwhile."""
        self.undo_put()
        if self._before is None:
            return
        folder, ownership = self._from.folder, Ownership(self._from.folder)
        try:
            if ownership.claim():
                folder.write_meta(_back(folder, self._before))
        finally:
            ownership.release()

    def undo_put(self) -> None:
        """Remove what was brought to the other place, as far as that can be reached."""
        store, self._store, self._kept = self._store, None, None
        if store is not None:
            with suppress(MPMError):  # it cannot be reached, which may be why it is undone
                store.undo()


def _claim(live: LiveSession) -> None:
    """Own the session, once another process that waits for its end has released it.

    Nothing says when it is released, so that is tried until `stop_timeout` has passed.

    Raises:
        NotOwner: it is not released in that time.
    """
    never, deadline = threading.Event(), time.monotonic() + live.options.stop_timeout
    while not live.claim():
        if time.monotonic() > deadline:
            raise live.ownership.refusal()
        never.wait(_LOOK_AGAIN)


def _records(live: LiveSession) -> RecordStore:
    place: Environment = live.environment
    return place.records(live.folder, claude_environment(live.options, place))


def _back(folder: SessionFolder, before: Meta) -> Meta:
    """Return the record as it was, with the starts that have failed since."""
    now = folder.read_meta()
    names = ("orchestrator", "environment", "cwd", "options", "place", "wire")
    return msgspec.structs.replace(now, **{name: getattr(before, name) for name in names})
