"""Identities of records, so that a copied record does not count twice.

Claude Code gives every line of a transcript, and every result, a `uuid`. Tools that copy or merge
transcripts, and a crash, can leave a line twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAX = 1 << 17  # identities that are remembered; the oldest are dropped


class Identities:
    """Remembers the identities of the last records; some megabytes at most.

    Args:
        known: those that came before.
    """

    __slots__ = ("_known",)

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._known: dict[int, None] = {}
        for identity in known:
            self.add(identity)

    def add(self, identity: object) -> bool:
        """Remember an identity; return whether it is new, as the lack of one always is."""
        if not identity or not isinstance(identity, str):
            return True
        number = hash(identity)
        if number in self._known:
            return False
        self._known[number] = None
        if len(self._known) > _MAX:
            del self._known[next(iter(self._known))]
        return True
