"""A turn whose Claude has died goes on in a fresh one, where that is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.engine.resume import find_prompt
from claude_mpm.errors import MPMError

if TYPE_CHECKING:
    import logging
    import threading
    from collections.abc import Callable

    from claude_mpm.config.framework import FrameworkLoader
    from claude_mpm.conversation.turn import Turn
    from claude_mpm.conversation.turn_tracker import TurnTracker
    from claude_mpm.engine.controller import Controller
    from claude_mpm.journal.prompts import Prompt
    from claude_mpm.sessions.state import SessionState


class Revival:
    """Starts Claude again, in each turn at most so many times.

    Args:
        controller: of the session.
        turns: says which turn there is to go on with.
        state: what the session's events say; it begins again with each fresh Claude.
        loader: of the framework.
        times: how often.
        logger: where it is told.
        over: set once the session is being stopped or let go of.
        on_start: told of each new process.
    """

    def __init__(
        self,
        controller: Controller,
        turns: TurnTracker,
        state: SessionState,
        loader: FrameworkLoader,
        times: int,
        logger: logging.Logger,
        over: threading.Event,
        on_start: Callable[[Any], None],
    ) -> None:
        self._controller = controller
        self._turns = turns
        self._state = state
        self._loader = loader
        self._times = times
        self._logger = logger
        self._over = over
        self._on_start = on_start

    def __call__(self) -> bool:
        """Start Claude again if it was lost in a turn; tell whether there is one now.

        Called by whoever reads, when the output is over.
        """
        turn = self._turns.active
        if turn is None or not self._is_lost(turn):
            return False
        prompt = find_prompt(self._controller.folder, turn.uuid)
        with self._controller.starting:
            if not prompt.name or self._over.is_set() or not self._controller.claim():
                return False
            turn.known = msgspec.structs.replace(turn.known, resumed=turn.known.resumed + 1)
            return self._go_on(prompt)

    def _is_lost(self, turn: Turn) -> bool:
        known, controller = turn.known, self._controller
        wanted = not (turn.done or turn.results or known.interrupted or known.timed_out)
        left = self._times - known.resumed
        return wanted and left > 0 and controller.hosted and controller.wire.greets

    def _go_on(self, prompt: Prompt) -> bool:
        controller = self._controller
        self._logger.warning("%s; it is started again", controller.ending())
        output = controller.process.stdout
        try:
            controller.relaunch(self._loader.load(), prompt)
        except MPMError as error:
            self._logger.error("cannot go on with the turn: %s", error)
            return False
        self._state.expect_start(controller.begin)
        controller.process.stdout = output
        self._on_start(controller.process)
        return True
