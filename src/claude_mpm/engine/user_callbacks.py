"""Functions of the user's that take part in the flow must not stop it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable

    from claude_mpm.wire.events import Event


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


def guard_sink(sink: Callable[[Event], None], logger: logging.Logger) -> Callable[[Event], None]:
    """Return a sink that goes on with the next event where `sink` raises."""

    def guarded(event: Event) -> None:
        try:
            sink(event)
        except Exception as error:  # noqa: BLE001 -- a function of the user's may raise anything
            logger.error("sink %r failed on %s: %r", sink, event.type, error)

    return guarded
