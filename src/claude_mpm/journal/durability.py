"""Durability: when a journal is synced to the disk."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from claude_mpm.errors import StorageError
from claude_mpm.journal.storage import storage_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_mpm.journal.exchange import ExchangeFile
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.wire.events import Event

Durability = Literal["none", "turn", "event"]
_sync = getattr(os, "fdatasync", os.fsync)  # not every system has it


class JournalSync:
    """Syncs a journal before its events are stored or passed on.

    Claude writes the journal itself and never syncs it, so a power cut loses what the operating
    system had not written yet: on Linux up to some 30 seconds.

    Args:
        folder: the session's.
        durability: "turn" syncs at each result, "event" whenever something new was read; "none"
            never does.

    Attributes:
        failure: the error if the disk fails; nothing is synced after that.
    """

    __slots__ = ("_durability", "_journal", "_synced", "failure")

    def __init__(self, folder: SessionFolder, durability: Durability) -> None:
        self._journal = folder.journal
        self._durability = durability
        self.failure: StorageError | None = None
        self._synced = 0  # bytes

    def __call__(self, events: Sequence[Event]) -> None:
        """Sync, if these events require it and are not on the disk yet."""
        if self._durability == "none":
            return
        newest_first = reversed(events)
        if self._durability == "turn":
            last = next((event for event in newest_first if event.kind == "result"), None)
        else:
            last = next(newest_first, None)
        if last is None or last.offset < self._synced:
            return
        try:
            self._synced = sync(self._journal)
        except StorageError as error:
            self._durability = "none"
            self.failure = error


def sync(file: ExchangeFile) -> int:
    """Sync a file to the disk; return how many bytes of it are certainly there.

    Raises:
        StorageError: the disk failed.
    """
    with storage_errors(file):
        descriptor = file.open()
        try:
            size = os.fstat(descriptor).st_size  # before the sync: more may be written meanwhile
            _sync(descriptor)
        finally:
            os.close(descriptor)
        return size
