"""Taking secrets out of what a processor found, before anybody keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from claude_mpm.redaction import Redactor
    from claude_mpm.wire.events import Event


class Redacted:
    """A processor whose records hold no secrets.

    Args:
        process: the processor.
        redactor: knows the session's secrets.
    """

    def __init__(self, process: Callable[[Event], Iterable[Event]], redactor: Redactor) -> None:
        self._process = process
        self._redactor = redactor
        if hasattr(process, "kinds"):
            self.kinds = process.kinds

    def __call__(self, event: Event) -> Iterable[Event]:
        """Return what is found in an event."""
        found = self._process(event)
        return [self._clean(each) for each in found] if found else ()

    def finish(self) -> list[Event]:
        """Return what the processor has left at the end."""
        finish = getattr(self._process, "finish", None)
        return [self._clean(found) for found in finish()] if finish else []

    def _clean(self, found: Event) -> Event:
        data = self._redactor.record(found.data)
        return found if data is found.data else msgspec.structs.replace(found, data=data)
