"""How a live session reads its journal: what the options of its user add must not stop it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from claude_mpm.engine.user_callbacks import GuardedProcessor, guard_sink
from claude_mpm.journal.durability import JournalSync

if TYPE_CHECKING:
    import logging

    from claude_mpm.engine.options import Options
    from claude_mpm.journal.layout import Meta, SessionFolder
    from claude_mpm.sessions.reader import Session, Source
    from claude_mpm.sessions.store import Store
    from claude_mpm.wire import Wire


class Readable(Protocol):
    """A session whose journal is read."""

    options: Options
    store: Store
    logger: logging.Logger
    wire: Wire

    @property
    def folder(self) -> SessionFolder: ...


def open_reader(live: Readable, meta: Meta, start: int, source: Source) -> Session:
    """Open the journal of a session, from an offset, for the one who keeps what is found.

    Args:
        live: the session.
        meta: its record.
        start: the byte to start at.
        source: what writes the journal.
    """
    # Here, since Claude is starting beside us by now.
    from claude_mpm.sessions.pipeline import built_in_processors
    from claude_mpm.sessions.reader import Session

    options, index = live.options, live.store.index
    built_in = built_in_processors(
        meta,
        live.folder,
        index,
        start,
        tickets=options.tickets,
        markers=options.ticket_markers,
    )
    return Session(
        live.folder,
        live.wire,
        index,
        processors=[
            *built_in,
            *(GuardedProcessor(process, live.logger) for process in options.processors),
        ],
        sinks=[guard_sink(sink, live.logger) for sink in options.sinks],
        start=start,
        source=source,
        joins=True,
        sync=JournalSync(live.folder, options.durability),
    )
