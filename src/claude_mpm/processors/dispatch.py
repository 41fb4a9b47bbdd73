"""Processors that look at some kinds of event only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from claude_mpm.wire.events import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Processor = Callable[[Event], Iterable[Event]]


def takers(processors: Iterable[Processor], kind: str) -> list[Processor]:
    """Return what processors take events of a kind with; who does not tell takes all."""
    pairs = ((process, getattr(process, "taker", None)) for process in processors)
    functions = [taker(kind) if taker else process for process, taker in pairs]
    return [take for take in functions if take is not None]


def finish_all(processors: Iterable[Processor]) -> list[Event]:
    """Return what processors have left at the end."""
    finishers = [getattr(process, "finish", None) for process in processors]
    return [event for finish in finishers if finish for event in finish()]


def derived(source: Event, kind: str, data: object, type_: str = "") -> Event:
    """Return what a processor found in an event, as an event in its place."""
    return Event(kind, data, source.offset, source.end, type=type_ or kind)


class ByKind(ABC):
    """A processor with a function for each kind of event, so that none is called in vain."""

    __slots__ = ()

    @abstractmethod
    def taker(self, kind: str) -> Processor | None:
        """Return what makes further events of those of a kind; None where nothing does."""

    def __call__(self, event: Event) -> Iterable[Event]:
        """Return what is made of an event."""
        take = self.taker(event.kind)
        return take(event) if take is not None else ()
