"""A turn whose Claude has died goes on in a fresh one, where that is asked for."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.errors import MPMError
from claude_mpm.orchestration.takeover import find_prompt

if TYPE_CHECKING:
    import logging

    from claude_mpm.framework import FrameworkLoader
    from claude_mpm.orchestration.controller import Controller
    from claude_mpm.orchestration.turns import TurnTracker


class Revival:
    """Starts Claude again, each turn at most so many times.

    Args:
        controller: of the session.
        turns: says which turn there is to go on with.
        loader: of the framework.
        times: how often.
        logger: where it is told.
        over: set once the session is being stopped or let go of.
    """

    def __init__(
        self,
        controller: Controller,
        turns: TurnTracker,
        loader: FrameworkLoader,
        times: int,
        logger: logging.Logger,
        over: threading.Event,
    ) -> None:
        self._controller = controller
        self._turns = turns
        self._loader = loader
        self._times = times
        self._logger = logger
        self._over = over
        self._starting = threading.Lock()

    def __call__(self) -> bool:
        """Start Claude again if it was lost in a turn; tell whether there is one now.

        Called by whoever reads, when the output is over.
        """
        turn = self._turns.active
        controller = self._controller
        if turn is None or turn.done or turn.results or not controller.wire.greets:
            return False
        if turn.known.resumed >= self._times or not controller.hosted:
            return False
        prompt = find_prompt(controller.folder, turn.uuid)
        if not prompt.name or turn.known.interrupted or turn.known.timed_out:
            return False
        with self._starting:
            if self._over.is_set() or not controller.claim():
                return False
            self._logger.warning("%s; it is started again", controller.ending())
            turn.known = msgspec.structs.replace(turn.known, resumed=turn.known.resumed + 1)
            try:
                controller.relaunch(self._loader.load(), prompt)
            except MPMError as error:
                self._logger.error("cannot go on with the turn: %s", error)
                return False
        return True

    def hold(self) -> None:
        """Wait for a start that is under way; called once `over` is set."""
        with self._starting:
            return
