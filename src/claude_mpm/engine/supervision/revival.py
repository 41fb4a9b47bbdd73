"""A turn whose Claude has died goes on in a fresh one, where that is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_mpm.conversation.observer import Observer
from claude_mpm.errors import MPMError

if TYPE_CHECKING:
    from claude_mpm.conversation.turn import Turn
    from claude_mpm.engine.live_session import LiveSession
    from claude_mpm.journal.prompts import Prompt


class Revival(Observer):
    """Starts Claude again, in each turn at most so many times.

    Args:
        live: the session; its options say how often.
    """

    __slots__ = ("_live", "_times")

    def __init__(self, live: LiveSession) -> None:
        self._live = live
        self._times = live.options.resume_lost

    def recover(self) -> bool:
        """Start Claude again if it was lost in a turn; return whether there is one now."""
        live, turn = self._live, self._live.turns.active
        if turn is None or not self._is_lost(turn):
            return False
        from claude_mpm.engine.resume import find_prompt

        prompt = find_prompt(live.folder, turn.uuid)
        with live.life.alone():
            if not prompt.name or live.life.ends or not live.claim():
                return False
            turn.note(resumed=turn.known.resumed + 1)
            return self._go_on(prompt)

    def _is_lost(self, turn: Turn) -> bool:
        known, live = turn.known, self._live
        wanted = not (turn.done or turn.results or known.interrupted or known.timed_out)
        return wanted and self._times > known.resumed and live.hosted and live.wire.greets

    def _go_on(self, prompt: Prompt) -> bool:
        live = self._live
        live.logger.warning("%s; it is started again", live.ending())
        try:
            live.relaunch(live.loader.load() if live.loader is not None else None, prompt)
        except MPMError as error:
            live.logger.error("cannot go on with the turn: %s", error)
            return False
        return True
