"""Starting many Claudes: as many at once as there are processors, the others one after another."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# A start of Claude keeps one processor busy. Where more start than there are processors, all are
# in each other's way, and the last of them is there later than if they had waited.
_places = threading.Semaphore(max(2, os.cpu_count() or 2))


@contextmanager
def in_turn(timeout: float) -> Iterator[None]:
    """Wait until few enough others of this process are starting; called around each start.

    Args:
        timeout: seconds after which it goes on anyway: what starts may hang.
    """
    has_place = _places.acquire(timeout=timeout)
    try:
        yield
    finally:
        if has_place:
            _places.release()
