"""One interface for all that watches a running session."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claude_mpm.wire.events import Event


class Observer:
    """A part of a running session that watches what happens in it.

    All methods but `look` are called by the thread that reads the session at the time, one after
    another. The thread that watches the folders calls `look`, too, where it reads the session, and
    nothing in that may wait. Nor may `observe` wait, or give Claude a message, unless `may_block`:
    what it has found is done in `act`. `supervision/budget` is one to read.
    """

    __slots__ = ()

    heeds_all = False  # whether it takes events while no turn runs, too

    @property
    def may_block(self) -> bool:
        """Whether `observe` may wait for something, so that the reading needs a thread."""
        return False

    def observe(self, event: Event) -> None:
        """Take an event in its place between the lines; the session's state has it already."""

    def look(self) -> bool:
        """Note the time, and return whether `act` has something to do; called once a second."""
        return False

    def act(self) -> None:
        """Do what there is to do by now; called about once a second while nothing comes."""

    def recover(self) -> bool:
        """Begin the output again that has ended, if it can be; return whether more is to come."""
        return False

    def end(self) -> None:
        """Called once when the output has ended and was read."""
