"""One turn for each prompt: who is answered now, and who waits."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from claude_mpm.conversation.observer import Observer
from claude_mpm.sessions.state import NOT_BEGUN
from claude_mpm.wire.events import prompts_of

if TYPE_CHECKING:
    from claude_mpm.conversation.question import Question
    from claude_mpm.conversation.turn import Turn
    from claude_mpm.records import TurnRecord
    from claude_mpm.sessions.state import SessionState
    from claude_mpm.wire.events import Event, Result


class Speaker(Protocol):
    """What the tracker needs of the session whose turns it keeps."""

    state: SessionState

    def announce(self, turn: Turn) -> None:
        """Give a turn's prompt to Claude."""

    def parks(self, turn: Turn) -> bool:
        """Let a turn wait that seems to be over, if it is to; return whether it goes on later."""

    def outcome(self) -> dict[str, Any]:
        """Return how the output has ended: `ended`, `exit_status` and `stderr`."""


class TurnTracker(Observer):
    """Gives Claude one prompt at a time and tells where its turn ends.

    Claude joins prompts that come while it works into one turn, so the next is only announced
    when the last has ended: its result has come, and Claude has come to rest.

    Args:
        session: gives Claude the prompts.

    Attributes:
        active: the turn that is being answered.
    """

    __slots__ = ("_is_stray", "_lock", "_session", "_state", "_waiting", "active")

    def __init__(self, session: Speaker) -> None:
        self._session = session
        self._state = session.state
        # Prompts are asked for in any thread, the reader ends turns, and whoever ends the session
        # ends them all: each holds it for `active` and `_waiting`. A prompt is announced under it,
        # so that prompts go to Claude in their order.
        self._lock = threading.RLock()
        self.active: Turn | None = None
        self._waiting: list[Turn] = []
        self._is_stray = False  # the result that was read last is no turn's that we know

    def add(self, turn: Turn) -> None:
        """Take a turn; its prompt is announced at once, or when those before it have ended."""
        with self._lock:
            self._waiting.append(turn)
            self._begin_next()

    def observe(self, event: Event) -> None:
        """Take an event in its place between the lines of the answer."""
        if self.active is None and not self._waiting:
            return
        with self._lock:
            turn = self.active
            if event.kind == "result":
                self._is_stray = turn is not None and self._is_nobodys(event.data, turn)
            if turn is not None and event.kind == "turn" and self._is_stray:
                turn.add_stray(event.data)
            elif turn is not None and not _of_another(event, turn):
                turn.add_event(event)
                if self._is_over(event, turn) and not self._session.parks(turn):
                    turn.finish(over=True, **self._state.left())
            self._begin_next()

    def ask(self, question: Question) -> None:
        """Give a question of Claude's to the turn that it belongs to."""
        with self._lock:
            if self.active is not None:
                self.active.add_question(question)

    def take_line(self, line: str) -> bool:
        """Give a line to the turn that is being answered; False where there is none."""
        with self._lock:
            turn = self.active
            if turn is None or turn.done:
                return False
            turn.add_line(line)
            return True

    def wait_for_unwatched(self, seconds: float) -> None:
        """Wait until the turns that nobody has waited for or read have ended.

        Args:
            seconds: how long, at most.
        """
        deadline = time.monotonic() + seconds
        with self._lock:
            turns = self._all()
        with suppress(TimeoutError):
            for turn in turns:
                if not turn.watched:
                    turn.wait(max(0.0, deadline - time.monotonic()))

    def wait_for_all(self) -> None:
        """Wait, without a limit, until every turn has ended, also those that begin meanwhile."""
        while True:
            with self._lock:
                turns = self._all()
            if all(turn.done for turn in turns):
                return
            for turn in turns:
                turn.wait()

    def look(self) -> bool:
        """Return whether a turn has ended by itself, or its time is up."""
        turn = self.active
        return turn is not None and (turn.done or turn.is_due())

    def act(self) -> None:
        """Keep the time of the turn, also where nobody waits for it."""
        with self._lock:
            if self.active is not None:
                self.active.keep_time()
            self._begin_next()

    def end(self) -> None:
        """End every turn with the output."""
        self.end_all(**self._session.outcome())

    def end_all(self, *, ended: bool, exit_status: int | None = None, stderr: str = "") -> None:
        """End every turn: the output has ended, or is read no further.

        Args:
            ended: whether it has ended.
            exit_status: how Claude ended; None while it runs, and where nobody knows.
            stderr: why, as far as it was said.
        """
        with self._lock:
            turns = self._all()
            self.active = None
            self._waiting.clear()
            left = self._state.left()
        for turn in turns:
            turn.finish(ended=ended, exit_status=exit_status, stderr=stderr, **left)

    def _all(self) -> list[Turn]:
        """Return the active turn and those that wait; called with the lock held."""
        return [turn for turn in (self.active, *self._waiting) if turn is not None]

    def _begin_next(self) -> None:
        if self.active is not None and self.active.done:
            self.active = None
        if self.active is None and self._waiting:
            self.active = self._waiting.pop(0)
            self.active.begin()
            self._session.announce(self.active)

    def _is_nobodys(self, result: Result, turn: Turn) -> bool:
        """Return whether a result ends no turn: it names no prompt, and ours had no answer yet.

        So it is with a conversation that is gone on with, and with a line that came twice.
        """
        if self._state.repeated:
            return True
        if prompts_of(result) or result.origin is not None:
            return False
        if self._state.acknowledges and turn.uuid and not turn.known.resumed:
            return self._state.delivery(turn.uuid) in NOT_BEGUN
        told = result.num_turns != 0 or result.result or result.is_error or result.local_command
        return not told and not turn.answered

    def _is_over(self, event: Event, turn: Turn) -> bool:
        if not turn.results and not self._state.has_dropped(turn.uuid):
            return False
        return self._state.comes_to_rest(event)


def _of_another(event: Event, turn: Turn) -> bool:
    """Return whether an event is the end of a turn that another prompt, or none, started."""
    if event.kind != "turn":
        return False
    record: TurnRecord = event.data
    if record.prompts:
        return turn.uuid not in record.prompts
    # Woken by a background task: part of this turn where that task was, so after its own result.
    return bool(record.origin) and not turn.results
