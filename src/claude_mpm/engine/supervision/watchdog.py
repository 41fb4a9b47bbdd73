"""Noticing a turn that stands still, and what is done about it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from claude_mpm.conversation.observer import Observer
from claude_mpm.sessions.state import NOT_BEGUN

if TYPE_CHECKING:
    from claude_mpm.conversation.turn import Turn
    from claude_mpm.engine.live_session import LiveSession
    from claude_mpm.wire.events import Event

_GRACE = 10.0  # seconds for an interrupted turn to end
# Seconds between two looks, which are one apart, after which this process did not run.
_ASLEEP = 3.0


class Watchdog(Observer):
    """Measures how long the active turn has stood still, by what Claude was last seen to do.

    A retry of a request is no progress. The time of a tool, and that of a question that waits for
    its answer, are distinguished from silence. Time in which this process did not run, as one that
    was stopped or whose machine slept, counts for nothing: Claude may not have run either.

    Args:
        live: the session; its options have the limits and what is done at them.
    """

    __slots__ = (
        "_acted", "_begun", "_last_look", "_limit_after_interrupt", "_live", "_options",
        "_since", "_state", "_turn", "_turns",
    )  # fmt: skip

    def __init__(self, live: LiveSession) -> None:
        self._live = live
        self._options = live.options
        self._turns = live.turns
        self._state = live.state
        self._turn: Turn | None = None
        self._last_look = time.monotonic()
        self._begin()

    def observe(self, event: Event) -> None:
        """Take an event, after the turns have taken it."""
        turn = self._turns.active
        if turn is not self._turn:
            self._turn = turn
            self._begin()
        if turn is None:
            return
        if self._state.retries:
            return
        self._since = time.monotonic()
        self._acted = False
        self._begun = True

    def look(self) -> bool:
        """Note the time, and return whether a limit is passed."""
        now = time.monotonic()
        last, self._last_look = self._last_look, now
        turn = self._turns.active
        if turn is None or turn.done or not turn.known.structured:
            return False
        if turn is not self._turn or turn.parked:
            self._turn = turn
            self._begin()
        stalled = bool(turn.known.stalled)
        if not stalled and self._live.questions.waits():
            self._since = now
            return False
        limit = self._limit_after_interrupt if stalled else self._limit(turn)[0]
        if limit is None or (self._acted and not stalled):
            return False
        if now - max(last, self._since) >= max(_ASLEEP, limit / 2):
            self._since = now
        return now - self._since >= limit

    def act(self) -> None:
        """End the turn, or do what else is asked for, where the limit is passed."""
        turn = self._turns.active
        if turn is None or not self.look():
            return
        if turn.known.stalled:
            self._end(turn)
            return
        self._acted = True
        waited, (_, what) = time.monotonic() - self._since, self._limit(turn)
        reason = f"{what} for {waited:.0f} seconds{self._retried()}"
        if turn.results or self._has_ended(turn):
            turn.finish(not_idle=reason)
        else:
            self._end_stall(turn, reason)

    def _begin(self) -> None:
        self._since = time.monotonic()
        self._acted = False
        self._begun = False
        self._limit_after_interrupt = _GRACE

    def _limit(self, turn: Turn) -> tuple[float | None, str]:
        """Return the limit that counts now, in seconds, and what stands still."""
        options, tools = self._options, self._state.tools
        if turn.results:
            return options.end_timeout, "Claude has not said that it is idle"
        if self._has_ended(turn):
            return options.end_timeout, "Claude is idle and has given no result"
        if tools:
            names = ", ".join(sorted(set(tools.values())))
            return options.tool_timeout, f"the tool {names} has not ended"
        if not self._begun:
            return options.first_event_timeout, "Claude has not taken the prompt"
        return options.silence_timeout, "Claude was silent"

    def _has_ended(self, turn: Turn) -> bool:
        """Return whether Claude has begun with the prompt, and says that it is done."""
        return (
            self._state.claude_state == "idle" and self._state.delivery(turn.uuid) not in NOT_BEGUN
        )

    def _retried(self) -> str:
        retries = self._state.retries
        return f", with {len(retries)} retries ({retries[-1]})" if retries else ""

    def _end_stall(self, turn: Turn, reason: str) -> None:
        self._live.logger.warning("turn %s stands still: %s", turn.uuid, reason)
        if self._options.on_stall == "warn":
            return
        if self._options.on_stall == "resume" and turn.known.resumed < self._options.resume_lost:
            self._live.kill()
            return
        turn.note(stalled=reason)
        self._limit_after_interrupt = time.monotonic() - self._since + _GRACE
        if self._options.on_stall == "interrupt":
            turn.interrupt()
        else:
            self._end(turn)

    def _end(self, turn: Turn) -> None:
        """End a turn that does not end by itself, and with it the session that is stuck in it."""
        turn.finish()
        self._live.stop()
