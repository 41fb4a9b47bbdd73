"""A turn that the rate limit refuses waits until that is lifted, and then goes on by itself."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

from claude_mpm.conversation.observer import Observer
from claude_mpm.errors import MPMError
from claude_mpm.journal.rate_limited import Parked, clock, park, read_parked, unpark
from claude_mpm.wire.events import rate_limit
from claude_mpm.wire.text_lines import is_claude_code_text

if TYPE_CHECKING:
    from claude_mpm.conversation.turn import Turn
    from claude_mpm.engine.live_session import LiveSession
    from claude_mpm.wire.events import Event

MOST_WAITS = 3  # of one turn
_PAUSE = 10.0  # seconds to wait at least, where the limit should be lifted already
_REFUSED = 429  # the status of HTTP
_CONTINUE = "Continue from where you left off."


class RateLimitWait(Observer):
    """Parks the turn that was refused, and gives its prompt again when the limit is lifted.

    Claude names the moment in a `rate_limit_event`, as it does for a plan's limits; without one
    there is nothing to wait for. (Observed: Claude Code 2.1.330.) A prompt on which nothing was
    done yet is given again as it was; else Claude is asked to continue.

    Args:
        live: the session; its options say how long a turn may wait.
    """

    __slots__ = (
        "_active", "_latest", "_live", "_longest", "_parked", "_told_for", "_turn", "_until",
        "_worked",
    )  # fmt: skip

    def __init__(self, live: LiveSession) -> None:
        self._live = live
        self._longest = live.options.wait_for_rate_limit
        self._until: float | None = None  # when the limit is lifted that refuses now
        self._told_for = ""  # the uuid of the prompt in whose answer Claude named that moment
        self._active: Turn | None = None
        self._worked = False  # whether anything was done in the active turn
        self._turn: Turn | None = None  # that waits
        self._parked: Parked | None = None
        self._latest = 0.0

    @property
    def may_block(self) -> bool:
        """Whether it may wait for the disk: where a turn may wait for the limit."""
        return self._longest is not None

    def observe(self, event: Event) -> None:
        """Take an event, after the turns have taken it."""
        if self._live.turns.active is not self._active:
            self._active, self._worked = self._live.turns.active, False
        if event.kind == "assistant":
            self._worked |= not is_claude_code_text(event.data)
        elif event.kind == "unknown" and (limit := rate_limit(event)) is not None:
            self._until = limit.until
            self._told_for = self._active.uuid if self._active is not None else ""

    def parks(self, turn: Turn) -> bool:
        """Let a turn that seems to have ended wait, if it is to; return whether it waits."""
        if turn.parked:
            turn.set_aside()
            return True
        now = time.time()
        lifted = self._until
        if self._told_for != turn.uuid:  # told of an earlier prompt, it serves this one at most
            self._until = None
            lifted = lifted if lifted is not None and lifted > now else None
        if not self._is_refused(turn) or lifted is None:
            return False
        # Whoever gave the prompt has it wait; one that came later has heard of the end.
        if not turn.name or self._live.life.ends:
            return False
        until = lifted if lifted > now else now + _PAUSE
        obstacle = self._obstacle(turn, until - now)
        if obstacle:
            told = f"the limit is lifted at {clock(until)}, {obstacle}"
            turn.note(rate_limit=told)
            return False
        if not self._live.claim():  # another has it, so that no prompt is run twice
            return False
        text = _CONTINUE if self._worked else turn.prompt
        times = turn.known.waited + 1
        self._wait(turn, Parked(
            prompt=turn.uuid, uuid=str(uuid.uuid4()), text=text, until=until, times=times,
            command=turn.command and not self._worked,
        ))  # fmt: skip
        return turn.parked

    def take_up(self, turn: Turn) -> None:
        """Let a turn wait that waited already when its controller died."""
        folder = self._live.folder
        parked = read_parked(folder)
        if parked is not None and parked.prompt == turn.uuid and self._live.claim():
            self._wait(turn, parked)

    def look(self) -> bool:
        """Return whether it is time to give the prompt again, or the turn has ended meanwhile."""
        if self._parked is None or self._turn is None or self._live.life.ends:
            return False
        # The one clock may be set, the other stands still while the machine sleeps.
        is_time = time.time() >= self._parked.until or time.monotonic() >= self._latest
        return is_time or self._turn.done

    def act(self) -> None:
        """Give the prompt again where it is time."""
        if not self.look() or self._parked is None or self._turn is None:
            return
        if self._turn.done:
            self.close()
        else:
            self._give_again(self._turn, self._parked)

    def cancel(self) -> None:
        """End the turn that waits."""
        if self._turn is not None:
            self._turn.interrupt()

    def close(self, *, keep: bool = False) -> None:
        """Wait no more; safe to call twice.

        Args:
            keep: leave the prompt to whoever takes the session up next.
        """
        parked, self._parked, self._turn = self._parked, None, None
        if parked is not None and not keep:
            unpark(self._live.folder)

    def _is_refused(self, turn: Turn) -> bool:
        known = turn.known
        if known.interrupted or known.timed_out or known.budget or not turn.results:
            return False
        return turn.results[-1].is_error and turn.results[-1].api_error_status == _REFUSED

    def _obstacle(self, turn: Turn, seconds: float) -> str:
        """Say why a turn does not wait; empty where it does."""
        if not self._longest:
            return "and `wait_for_rate_limit` would let the turn wait for that"
        if seconds > self._longest:
            return f"and `wait_for_rate_limit` allows {self._longest:g} seconds, not {seconds:.0f}"
        if turn.known.waited >= MOST_WAITS:
            return f"and the turn has waited {MOST_WAITS} times already"
        return ""

    def _wait(self, turn: Turn, parked: Parked) -> None:
        try:
            park(self._live.folder, parked)
        except MPMError as error:
            self._live.logger.error("the turn does not wait for the rate limit: %s", error)
            return
        self._turn = self._active = turn
        self._parked, self._worked = parked, parked.text == _CONTINUE
        self._latest = time.monotonic() + max(0.0, parked.until - time.time())
        told = f"it waits for the rate limit until {clock(parked.until)}"
        self._live.logger.warning("turn %s: %s", turn.uuid, told)
        turn.park(told, parked.times, self)

    def _give_again(self, turn: Turn, parked: Parked) -> None:
        live = self._live
        try:
            live.ownership.check()
            if turn.unpark(parked.uuid):
                self._told_for = parked.uuid  # the same turn: Claude need not name it again
                name = live.keep(parked.text, parked.uuid, command=parked.command)
                turn.kept_as(name)
                live.input.announce(name)
        except MPMError as error:
            self._live.logger.error("prompt not delivered: %s", error)
            turn.finish(ended=True, stderr=str(error))
        self.close()
