"""The supervisor of a session: gives each event, and the time, to everything that watches."""

from __future__ import annotations

import signal
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.engine.supervision.rate_limit import RateLimitWait
from claude_mpm.engine.supervision.revival import Revival
from claude_mpm.engine.supervision.watchdog import Watchdog
from claude_mpm.errors import MPMError

if TYPE_CHECKING:
    import logging
    import threading
    from collections.abc import Callable

    from claude_mpm.config.framework import FrameworkLoader
    from claude_mpm.conversation.questions import QuestionDesk
    from claude_mpm.conversation.turn import Turn
    from claude_mpm.conversation.turn_tracker import TurnTracker
    from claude_mpm.engine.controller import Controller
    from claude_mpm.engine.options import Options
    from claude_mpm.engine.supervision.budget import Budget
    from claude_mpm.engine.supervision.resources import ResourceWatch
    from claude_mpm.environments.base import Environment
    from claude_mpm.sessions.state import SessionState
    from claude_mpm.sessions.store import Store
    from claude_mpm.wire.events import Event


class Supervisor:
    """Sees to it that a session neither hangs, nor dies unnoticed, nor takes the machine down.

    Args:
        options: the limits, and what is done at them.
        environment: the place.
        turns: says which turn is active.
        state: what the session's events say.
        questions: says whether Claude waits for an answer.
        loader: of the framework, for a Claude that is started again.
        logger: where it is told.
        store: all sessions of this user.
        control: returns the session's controller.
        over: set once the session is being stopped or let go of.
        stop: ends the session.
        on_start: told of the process of each Claude that is started again.
    """

    def __init__(
        self,
        options: Options,
        environment: Environment,
        turns: TurnTracker,
        state: SessionState,
        questions: QuestionDesk,
        loader: FrameworkLoader,
        logger: logging.Logger,
        store: Store,
        *,
        control: Callable[[], Controller],
        over: threading.Event,
        stop: Callable[[], None],
        on_start: Callable[[Any], None],
    ) -> None:
        self._options = options
        self._environment = environment
        self._turns = turns
        self._state = state
        self._loader = loader
        self._logger = logger
        self._over = over
        self._stop = stop
        self._on_start = on_start
        self._controller: Controller | None = None
        self._resources: ResourceWatch | None = None
        self._watchdog = Watchdog(
            options, turns, state, questions, logger, stop=stop, kill=self._kill
        )
        self._rate_limit = RateLimitWait(
            options.wait_for_rate_limit, turns, logger, control=control, over=over
        )
        self._budget: Budget | None = None
        if options.budgets:
            from claude_mpm.engine.supervision import budget

            self._budget = budget.Budget(
                options, turns, logger, store, control=control, over=over, stop=stop
            )

    def begin(self, controller: Controller) -> None:
        """Called when Claude is there."""
        self._controller = controller
        controller.revive = Revival(
            controller,
            self._turns,
            self._state,
            self._loader,
            self._options.resume_lost,
            self._logger,
            self._over,
            self._on_start,
        )
        if controller.hosted:
            self._watch_resources(controller)

    def observe(self, event: Event) -> None:
        """Take an event, after the turns have taken it."""
        self._watchdog.observe(event)
        self._rate_limit.observe(event)
        if self._budget is not None:
            self._budget.observe(event)

    @property
    def may_block(self) -> bool:
        """Whether `observe` may have to wait for something."""
        return self._budget is not None or self._options.wait_for_rate_limit is not None

    @property
    def heeds_all(self) -> bool:
        """Whether `observe` heeds events of no turn as well."""
        return self._budget is not None

    def is_due(self) -> bool:
        """Tell whether `check` has something to do, without waiting for anything."""
        return self._watchdog.look() or self._rate_limit.is_due()

    def check(self) -> None:
        """Called about once a second while nothing comes, where it may have something to do."""
        self._watchdog.check()
        self._rate_limit.check()
        if self._budget is not None:
            self._budget.check()

    def admit(self) -> None:
        """Let a prompt in.

        Raises:
            BudgetExceeded: that of the session or of the day is used up.
        """
        if self._budget is not None:
            self._budget.admit()

    def parks(self, turn: Turn) -> bool:
        """Tell whether a turn that seems to be over waits for the rate limit."""
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

    def _watch_resources(self, controller: Controller) -> None:
        options = self._options
        if not any(
            (
                options.memory_warning_mb,
                options.memory_limit_mb,
                options.cpu_warning_percent,
                options.cpu_limit_percent,
            )
        ):
            return
        from claude_mpm.engine.supervision.resources import Limits, ResourceWatch, read_usage

        self._resources = ResourceWatch(
            partial(read_usage, self._environment, controller.folder.path.name),
            soft=Limits(options.memory_warning_mb, options.cpu_warning_percent),
            hard=Limits(options.memory_limit_mb, options.cpu_limit_percent),
            warn=self._logger.warning,
            act=self._on_limit,
            logger=self._logger,
        )
        self._resources.start()

    def _on_limit(self, found: str) -> None:
        """End Claude; where that is asked for, its turn goes on in a fresh one."""
        self._logger.error("%s: Claude is ended", found)
        turn = self._turns.active
        if turn is not None:
            turn.known = msgspec.structs.replace(turn.known, exceeded=found)
        self._kill()

    def _kill(self) -> None:
        """End Claude at once, but not its host, which tells the end and clears up."""
        if self._controller is None:
            return
        if not self._controller.hosted:
            self._controller.process.kill()
            return
        folder = self._controller.folder
        pids = folder.pids()
        if pids is not None:
            with suppress(MPMError):  # it is gone, or cannot be reached
                self._environment.signal_in(folder, pids[1], signal.SIGKILL)
