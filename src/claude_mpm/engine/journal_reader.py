"""How a live session reads its journal: what the options of its user add must not stop it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from claude_mpm.journal.durability import JournalSync

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable

    from claude_mpm.engine.options import Options
    from claude_mpm.journal.layout import Meta, SessionFolder
    from claude_mpm.sessions.reader import Session, Source
    from claude_mpm.sessions.store import Store
    from claude_mpm.wire import Wire
    from claude_mpm.wire.events import Event


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


class GuardedProcessor:
    """A processor that makes nothing of an event on which the user's raises."""

    def __init__(self, process: Callable[[Event], Iterable[Event]], logger: logging.Logger) -> None:
        self._process = process
        self._logger = logger

    def __call__(self, event: Event) -> Iterable[Event]:
        """Return what the user's processor makes of `event`."""
        return self._made(lambda: self._process(event), event.type)

    def finish(self) -> Iterable[Event]:
        """Return what it has left at the end, if it has a `finish` of its own."""
        finish = getattr(self._process, "finish", None)
        return self._made(finish, "the end of the output") if finish else ()

    def _made(self, make: Callable[[], Iterable[Event]], occasion: str) -> Iterable[Event]:
        try:
            return list(make())
        except Exception as error:  # noqa: BLE001 -- a function of the user's may raise anything
            self._logger.error("processor %r failed on %s: %r", self._process, occasion, error)
            return ()


def guard_sink(
    sink: Callable[[Event], None], logger: logging.Logger
) -> Callable[[Iterable[Event]], None]:
    """Return what gives `sink` one event after the other, and goes on where it raises."""

    def guarded(events: Iterable[Event]) -> None:
        for event in events:
            try:
                sink(event)
            except Exception as error:  # noqa: BLE001 -- a function of the user's may raise anything
                logger.error("sink %r failed on %s: %r", sink, event.type, error)

    return guarded
