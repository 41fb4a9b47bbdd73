"""What of a journal is on the disk itself when, and not only with the operating system."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from claude_mpm.errors import StorageError
from claude_mpm.journal.storage import storage_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from claude_mpm.journal.exchange import ExchangeFile
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.wire.events import Event

Durability = Literal["none", "turn", "event"]
_sync = getattr(os, "fdatasync", os.fsync)  # not every system has it


class JournalSync:
    """Syncs a journal before what stands in it is kept or handed on.

    Claude writes the journal itself and never syncs it, so a power cut takes what the operating
    system had not written yet, which on Linux is up to some 30 seconds.

    Args:
        folder: the session's.
        durability: "turn" syncs at each result, "event" whenever something new was read; "none"
            never does.
        on_failure: told of a disk that did not take it; nothing more is synced then.
    """

    def __init__(
        self,
        folder: SessionFolder,
        durability: Durability,
        on_failure: Callable[[StorageError], None],
    ) -> None:
        self._journal = folder.journal
        self._durability = durability
        self._on_failure = on_failure
        self._synced = 0  # bytes

    def __call__(self, events: Sequence[Event]) -> None:
        """Sync where the events ask for it and are not on the disk yet."""
        if self._durability == "turn":
            events = [event for event in events if event.kind == "result"]
        if self._durability == "none" or not events or events[-1].offset < self._synced:
            return
        try:
            self._synced = sync(self._journal)
        except StorageError as error:
            self._durability = "none"
            self._on_failure(error)


def sync(file: ExchangeFile) -> int:
    """Bring what a file holds now to the disk; return how much that is, in bytes.

    Raises:
        StorageError: the disk did not take it.
    """
    with storage_errors(file):
        descriptor = file.open()
        try:
            size = os.fstat(descriptor).st_size  # first: more may come meanwhile
            _sync(descriptor)
        finally:
            os.close(descriptor)
        return size
