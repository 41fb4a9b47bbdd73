"""Server-sent events: a journal's lines as they come, and the rows that changed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.errors import UsageError
from claude_mpm.journal.cursor import Cursor
from claude_mpm.web.events import views
from claude_mpm.wire import WIRES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.web.fleet import Fleet
    from claude_mpm.web.models import EventView
    from claude_mpm.web.tokens import Admission
    from claude_mpm.web.watches import Bell, Watches
    from claude_mpm.wire import Wire
    from claude_mpm.wire.framing import Line

KEEP_ALIVE = 15.0  # seconds of silence after which a stream says that it is there
RETRY = b"retry: 500\n\n"
_COMMENT = b": here\n\n"
_encode = msgspec.json.Encoder().encode
# A list's version counts in one run of the server alone.
_BOOT = os.urandom(6).hex()


def _message(id: str, event: str, data: bytes) -> bytes:
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (id.encode(), event.encode(), data)


class JournalStream:
    """The lines of one session's journal from a place on, each once, as a reader takes them.

    Nothing is kept for a reader: each reads the file at its own place, as fast as it takes what it
    is given, and one that waits keeps no file open.

    Args:
        folder: the session.
        since: where to begin, in bytes: 0, or the `end` of an event.
        admission: of the reader, who is let in no more when it ends.

    Raises:
        UsageError: the journal is shorter.
        StorageError: the record is damaged.
    """

    def __init__(self, folder: SessionFolder, since: int, admission: Admission) -> None:
        size = folder.journal.size()
        if not 0 <= since <= size:
            raise UsageError(f"the journal has {size} bytes, and none at {since}")
        self._folder = folder
        self._wire: Wire = WIRES[folder.read_meta().wire]
        self._at = since
        self._cursor: Cursor | None = None
        self._admission = admission

    async def messages(self, watches: Watches) -> AsyncIterator[bytes]:
        """Yield server-sent events until the server ends, or the reader is let in no more."""
        yield RETRY
        try:
            with watches.watch(self._folder.exchange) as bell:
                while not watches.over and self._admission.holds():
                    if message := self._next():
                        yield message
                    elif not await self._wait(bell):
                        yield _COMMENT
        finally:
            self._let_go()

    async def _wait(self, bell: Bell) -> bool:
        if self._cursor is not None and self._cursor.offset == self._folder.journal.size():
            self._let_go()
        return await bell.wait(KEEP_ALIVE)

    def _next(self) -> bytes:
        """Return the next lines that are there; nothing where none is."""
        if self._cursor is None:
            if self._folder.journal.size() < self._at:  # a power cut took what was shown
                self._at = 0
                return _message("0", "reset", b"{}")
            if self._folder.journal.size() == self._at:
                return b""
            self._cursor = Cursor(self._folder.journal, self._at)
        lines = self._cursor.read()
        self._at = self._cursor.offset
        return b"".join(map(self._as_message, lines))

    def _as_message(self, line: Line) -> bytes:
        """Return a line as one message, so that a reader that comes back has all of it or none."""
        found: list[EventView] = views(self._wire, line)
        return _message(str(line.end), "events", _encode(found)) if found else b""

    def _let_go(self) -> None:
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None


async def fleet_messages(
    fleet: Fleet, watches: Watches, last: str, admission: Admission
) -> AsyncIterator[bytes]:
    """Yield the rows that changed since a reader's last id, and then as they change.

    Args:
        last: the id of the last message that the reader had; empty for all rows.
        admission: of the reader, who is let in no more when it ends.
    """
    boot, _, seen = last.partition(".")
    version = int(seen) if boot == _BOOT and seen.isdecimal() else -1
    yield RETRY
    with watches.plain() as bell, fleet.heard_by(bell):
        complete = None
        while not watches.over and admission.holds():
            if fleet.version > version or fleet.complete is not complete:
                rows, gone = fleet.changes(version)
                data = {
                    "all": version < 0, "complete": fleet.complete, "sessions": rows, "gone": gone,
                }  # fmt: skip
                version, complete = fleet.version, fleet.complete
                yield _message(f"{_BOOT}.{version}", "sessions", _encode(data))
            elif not await bell.wait(KEEP_ALIVE):
                yield _COMMENT
