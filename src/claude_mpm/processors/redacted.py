"""Taking secrets out of what a processor found, before anybody keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from claude_mpm.processors.by_kind import ByKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from claude_mpm.redaction import Redactor
    from claude_mpm.wire.events import Event


class Redacted(ByKind):
    """A processor whose records hold no secrets.

    Args:
        process: the processor.
        redactor: knows the session's secrets.
    """

    def __init__(self, process: Callable[[Event], Iterable[Event]], redactor: Redactor) -> None:
        self._process = process
        self._redactor = redactor

    def taker(self, kind: str) -> Callable[[Event], Iterable[Event]] | None:
        """Return what takes events of a kind; None where nothing does."""
        taker = getattr(self._process, "taker", None)
        take = taker(kind) if taker else self._process
        return self._cleaned(take) if take is not None else None

    def _cleaned(
        self, take: Callable[[Event], Iterable[Event]]
    ) -> Callable[[Event], Iterable[Event]]:
        def cleaned(event: Event) -> Iterable[Event]:
            found = take(event)
            return [self._clean(each) for each in found] if found else ()

        return cleaned

    def finish(self) -> list[Event]:
        """Return what the processor has left at the end."""
        finish = getattr(self._process, "finish", None)
        return [self._clean(found) for found in finish()] if finish else []

    def _clean(self, found: Event) -> Event:
        data = self._redactor.record(found.data)
        return found if data is found.data else msgspec.structs.replace(found, data=data)
