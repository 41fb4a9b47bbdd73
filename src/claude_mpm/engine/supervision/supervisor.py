"""The supervisor of a session: what watches that it keeps within its limits, in one order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_mpm.engine.supervision.rate_limit import RateLimitWait
from claude_mpm.engine.supervision.revival import Revival
from claude_mpm.engine.supervision.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_mpm.conversation.observer import Observer
    from claude_mpm.conversation.turn import Turn
    from claude_mpm.engine.live_session import LiveSession
    from claude_mpm.engine.supervision.attention import Attention
    from claude_mpm.engine.supervision.budget import Budget
    from claude_mpm.engine.supervision.resources import ResourceWatch, Usage


class Supervisor:
    """Ensures that a session neither hangs, nor dies unnoticed, nor takes the machine down.

    A new kind of limit is one more observer here.

    Args:
        live: the session; its options have the limits, and what is done at them.
    """

    __slots__ = ("_attention", "_budget", "_live", "_observers", "_rate_limit", "_resources")

    def __init__(self, live: LiveSession) -> None:
        self._live = live
        self._resources: ResourceWatch | None = None
        self._rate_limit = RateLimitWait(live)
        self._budget: Budget | None = None
        if live.options.budgets:
            from claude_mpm.engine.supervision import budget

            self._budget = budget.Budget(live)
        budgets = [self._budget] if self._budget is not None else []
        self._attention: Attention | None = None
        if live.options.notify is not None:
            from claude_mpm.engine.supervision import attention

            self._attention = attention.Attention(live, live.options.notify, self._budget)
        told = [self._attention] if self._attention is not None else []
        self._observers = (Watchdog(live), self._rate_limit, *budgets, *told, Revival(live))

    @property
    def observers(self) -> Sequence[Observer]:
        """What watches the events, in its order."""
        return self._observers

    def begin(self) -> None:
        """Watch what a Claude uses that is there now, if there are limits."""
        options = self._live.options
        soft = (options.memory_warning_mb, options.cpu_warning_percent)
        hard = (options.memory_limit_mb, options.cpu_limit_percent)
        if not self._live.hosted or not any((*soft, *hard)):
            return
        from claude_mpm.engine.supervision.resources import Limits, ResourceWatch

        logger = self._live.logger
        self._resources = ResourceWatch(self, soft=Limits(*soft), hard=Limits(*hard), logger=logger)
        self._resources.start()

    def admit(self) -> None:
        """Let a prompt in.

        Raises:
            BudgetExceeded: that of the session or of the day is used up.
        """
        if self._budget is not None:
            self._budget.admit()

    def watch(self, turn: Turn) -> None:
        """Watch a turn whose prompt is about to be given to Claude."""
        if self._attention is not None:
            self._attention.watch(turn)

    def parks(self, turn: Turn) -> bool:
        """Let a turn wait for the rate limit that seems to be over; return whether it waits."""
        return self._rate_limit.parks(turn)

    def take_up(self, turn: Turn) -> None:
        """Let a turn wait that waited already when its controller died."""
        self._rate_limit.take_up(turn)

    def cancel(self) -> None:
        """End the turn that waits for the rate limit."""
        self._rate_limit.cancel()

    def close(self, *, keep: bool = False) -> None:
        """Watch no more; safe to call twice.

        Args:
            keep: leave a prompt that waits to whoever takes the session up next.
        """
        self._rate_limit.close(keep=keep)
        if self._resources is not None:
            self._resources.close()
        if self._attention is not None:
            self._attention.close()

    # --- what the watch over the use of the machine asks for ---------------------------------

    def usage(self) -> Usage:
        """Return what Claude and its tools use.

        Raises:
            LaunchError: the place cannot be reached, or cannot tell.
        """
        from claude_mpm.engine.supervision.resources import read_usage

        return read_usage(self._live.environment, self._live.folder.path.name)

    def warn(self, found: str) -> None:
        """Say that a limit is passed."""
        self._live.logger.warning(found)

    def exceed(self, found: str) -> None:
        """End Claude; where that is asked for, its turn goes on in a fresh one."""
        self._live.logger.error("%s: Claude is ended", found)
        turn = self._live.turns.active
        if turn is not None:
            turn.note(exceeded=found)
        self._live.kill()
