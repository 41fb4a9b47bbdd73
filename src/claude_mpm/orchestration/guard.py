"""Functions of the user's that take part in the flow must not stop it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable

    from claude_mpm.wire.events import Event


def guard_processor(
    process: Callable[[Event], Iterable[Event]], logger: logging.Logger
) -> Callable[[Event], Iterable[Event]]:
    """Return a processor that makes nothing of an event on which `process` raises."""

    def guarded(event: Event) -> Iterable[Event]:
        try:
            return list(process(event))
        except Exception as error:  # noqa: BLE001 -- a function of the user's may raise anything
            logger.error("processor %r failed on %s: %r", process, event.type, error)
            return ()

    return guarded


def guard_sink(sink: Callable[[Event], None], logger: logging.Logger) -> Callable[[Event], None]:
    """Return a sink that goes on with the next event where `sink` raises."""

    def guarded(event: Event) -> None:
        try:
            sink(event)
        except Exception as error:  # noqa: BLE001 -- a function of the user's may raise anything
            logger.error("sink %r failed on %s: %r", sink, event.type, error)

    return guarded
