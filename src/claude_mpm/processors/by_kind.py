"""Processors that look at some kinds of event only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from claude_mpm.wire.events import Event


def takes(
    process: Callable[[Event], Iterable[Event]], kind: str
) -> Callable[[Event], Iterable[Event]] | None:
    """Return what a processor takes events of a kind with; itself where it does not tell."""
    taker = getattr(process, "taker", None)
    take: Callable[[Event], Iterable[Event]] | None = taker(kind) if taker else process
    return take


class ByKind(ABC):
    """A processor with a function for each kind of event, so that none is called in vain."""

    @abstractmethod
    def taker(self, kind: str) -> Callable[[Event], Iterable[Event]] | None:
        """Return what makes further events of those of a kind; None where nothing does."""

    def __call__(self, event: Event) -> Iterable[Event]:
        """Return what is made of an event."""
        take = self.taker(event.kind)
        return take(event) if take is not None else ()
