"""Noticing a turn that stands still, and what is done about it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Sequence

    from claude_mpm.conversation.turn import Turn
    from claude_mpm.conversation.turn_tracker import TurnTracker
    from claude_mpm.engine.options import Options
    from claude_mpm.wire.events import Block, Event

_GRACE = 10.0  # seconds for an interrupted turn to end
_NOTHING: frozenset[str] = frozenset()
# Seconds between two looks, which are one apart, after which this process did not run.
_ASLEEP = 3.0


class Watchdog:
    """Measures how long the active turn has stood still, by what Claude was last seen to do.

    A retry of a request is no progress. The time of a tool, and that of a question that waits for
    its answer, are told apart from silence. Time in which this process did not run, as one that
    was stopped or whose machine slept, counts for nothing: Claude may not have run either.

    Args:
        options: the limits and what is done at them.
        turns: says which turn is active.
        logger: where a warning goes.
        stop: ends the session.
        kill: ends Claude, so that its turn goes on in a fresh one.
    """

    def __init__(
        self,
        options: Options,
        turns: TurnTracker,
        logger: logging.Logger,
        *,
        stop: Callable[[], None],
        kill: Callable[[], None],
    ) -> None:
        self._options = options
        self._turns = turns
        self._logger = logger
        self._stop = stop
        self._kill = kill
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
        if event.type == "system/api_retry":
            self._retries.append(str(event.data.error or "unknown error"))
            return
        self._since = time.monotonic()
        self._acted = False
        self._retries.clear()
        self._begun = True
        self._note(event)

    def look(self) -> bool:
        """Note a look, as there is one a second, and return whether a limit is passed."""
        now = time.monotonic()
        last, self._last_look = self._last_look, now
        turn = self._turns.active
        if turn is None or turn.done or not turn.known.structured:
            return False
        if turn is not self._turn or turn.parked:
            self._turn = turn
            self._begin()
        stalled = bool(turn.known.stalled)
        limit = self._limit_after_interrupt if stalled else self._limit(turn)[0]
        if limit is None or (self._acted and not stalled):
            return False
        if now - max(last, self._since) >= max(_ASLEEP, limit / 2):
            self._since = now
        return now - self._since >= limit

    def check(self) -> None:
        """Act where the limit is passed; called about once a second while nothing comes."""
        turn = self._turns.active
        if turn is None or not self.look():
            return
        if turn.known.stalled:
            self._end(turn)
            return
        self._acted = True
        waited, (_, what) = time.monotonic() - self._since, self._limit(turn)
        reason = f"{what} for {waited:.0f} seconds{self._retried()}"
        if turn.results:
            turn.finish(not_idle=reason)
        else:
            self._act(turn, reason)

    def _begin(self) -> None:
        self._since = time.monotonic()
        self._acted = False
        self._begun = False
        self._tools: dict[str, str] = {}
        self._asked = _NOTHING
        self._retries: list[str] = []
        self._limit_after_interrupt = _GRACE

    def _limit(self, turn: Turn) -> tuple[float | None, str]:
        """Return the limit that counts now, in seconds, and what stands still."""
        options = self._options
        if self._asked:
            return None, ""
        if turn.results:
            return options.end_timeout, "Claude has not said that it is idle"
        if self._tools:
            names = ", ".join(sorted(set(self._tools.values())))
            return options.tool_timeout, f"the tool {names} has not ended"
        if not self._begun:
            return options.first_event_timeout, "Claude has not taken the prompt"
        return options.silence_timeout, "Claude was silent"

    def _retried(self) -> str:
        if not self._retries:
            return ""
        return f", with {len(self._retries)} retries ({self._retries[-1]})"

    def _act(self, turn: Turn, reason: str) -> None:
        self._logger.warning("turn %s stands still: %s", turn.uuid, reason)
        if self._options.on_stall == "warn":
            return
        if self._options.on_stall == "resume" and turn.known.resumed < self._options.resume_lost:
            self._kill()
            return
        turn.known = msgspec.structs.replace(turn.known, stalled=reason)
        self._limit_after_interrupt = time.monotonic() - self._since + _GRACE
        if self._options.on_stall == "interrupt":
            turn.interrupt()
        else:
            self._end(turn)

    def _end(self, turn: Turn) -> None:
        """End a turn that does not end by itself, and with it the session that is stuck in it."""
        turn.finish()
        self._stop()

    def _note(self, event: Event) -> None:
        match event.kind:
            case "assistant" | "user":
                self._note_tools(event.data.message.blocks)
            case "control_request" if event.data.request.get("subtype") == "can_use_tool":
                self._asked |= {event.data.request_id}
            case "control_cancel_request":
                self._asked -= {event.data.request_id}
            case "system" if event.data.state == "running":
                self._asked = _NOTHING
            case "result":
                self._tools.clear()

    def _note_tools(self, blocks: Sequence[Block]) -> None:
        for block in blocks:
            if block.type == "tool_use":
                self._tools[block.id or ""] = block.name or "a tool"
            elif block.type == "tool_result":
                self._tools.pop(block.tool_use_id or "", None)
