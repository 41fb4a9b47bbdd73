"""What goes on beside a scenario in a thread of its own, and what is waited for."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_PAUSE = 0.1  # seconds


class Beside(ABC):
    """Something that goes on from `with` on, until it has done its part or is called off.

    Attributes:
        off: set when it is called off.
    """

    def __init__(self, name: str) -> None:
        self.off = threading.Event()
        self._thread = threading.Thread(target=self.run, name=name, daemon=True)

    @abstractmethod
    def run(self) -> None:
        """Do it; called in its own thread."""

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Call it off, and wait until it has ended."""
        self.off.set()
        self._thread.join()


def until(happened: Callable[[], object], what: str, timeout: float) -> None:
    """Wait until something has happened.

    Args:
        what: what has not happened, for the error.
        timeout: seconds.

    Raises:
        TimeoutError: it did not.
    """
    if not settled(lambda: not happened(), timeout):
        return
    raise TimeoutError(what)


def settled(left: Callable[[], T], timeout: float) -> T:
    """Return what is left once that is nothing, or after some seconds: what ends needs its time."""
    nobody, time_up = threading.Event(), time.monotonic() + timeout
    while (found := left()) and time.monotonic() < time_up:
        nobody.wait(_PAUSE)
    return found
