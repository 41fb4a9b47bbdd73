"""What a live session is held by, and what it is watched by: the parts that are made above it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_mpm.conversation.observer import Observer
    from claude_mpm.conversation.turn import Turn


class Face(Protocol):
    """Whoever holds a live session for its user; users may override all of it."""

    session_id: str

    def stop(self) -> None:
        """End the session."""

    def interrupt(self) -> None:
        """Ask Claude to stop what it is doing."""


class Supervision(Protocol):
    """What watches that a session keeps within its limits."""

    @property
    def observers(self) -> Sequence[Observer]:
        """What watches the events, in its order."""

    def begin(self) -> None:
        """Watch what a Claude uses that is there now, if there are limits."""

    def admit(self) -> None:
        """Let a prompt in.

        Raises:
            BudgetExceeded: that of the session or of the day is used up.
        """

    def watch(self, turn: Turn) -> None:
        """Watch a turn whose prompt is about to be given to Claude; nothing in it may wait."""

    def parks(self, turn: Turn) -> bool:
        """Let a turn wait for the rate limit that seems to be over; return whether it waits."""

    def take_up(self, turn: Turn) -> None:
        """Let a turn wait that waited already when its controller died."""

    def cancel(self) -> None:
        """End the turn that waits for the rate limit."""

    def close(self, *, keep: bool = False) -> None:
        """Watch no more; with `keep`, a prompt that waits is left to whoever comes next."""
