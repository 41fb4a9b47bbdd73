"""Taking secrets out of what a processor found, before anybody keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from claude_mpm.processors.dispatch import ByKind, finish_all, takers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from claude_mpm.redaction import Redactor
    from claude_mpm.wire.events import Event

    Processor = Callable[[Event], Iterable[Event]]


class Redacted(ByKind):
    """Processors, one after the other, whose records hold no secrets.

    Args:
        processes: the processors.
        redactor: knows the session's secrets.
    """

    __slots__ = ("_processes", "_redactor")

    def __init__(self, processes: Sequence[Processor], redactor: Redactor) -> None:
        self._processes = processes
        self._redactor = redactor

    def taker(self, kind: str) -> Processor | None:
        """Return what takes events of a kind; None where nothing does."""
        takes = takers(self._processes, kind)
        return self._cleaned(takes) if takes else None

    def _cleaned(self, takes: Sequence[Processor]) -> Processor:
        def cleaned(event: Event) -> Iterable[Event]:
            events: list[Event] = []
            for take in takes:
                if made := take(event):
                    events += map(self._clean, made)
            return events

        return cleaned

    def finish(self) -> list[Event]:
        """Return what the processors have left at the end."""
        return [self._clean(event) for event in finish_all(self._processes)]

    def _clean(self, event: Event) -> Event:
        data = self._redactor.record(event.data)
        return event if data is event.data else msgspec.structs.replace(event, data=data)
