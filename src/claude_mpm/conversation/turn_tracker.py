"""One turn for each prompt: who is answered now, and who waits."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from claude_mpm.wire.events import prompts_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_mpm.conversation.question import Question
    from claude_mpm.conversation.turn import Turn
    from claude_mpm.records import TurnRecord
    from claude_mpm.wire.events import Event, Result, System

_NOBODY: frozenset[str] = frozenset()
# What Claude may have said of a prompt that it has not begun with.
_NOT_BEGUN = frozenset({"", "queued"})


class TurnTracker:
    """Gives Claude one prompt at a time and tells where its turn ends.

    Claude joins prompts that come while it works into one turn, so the next is only announced
    when the last is over: its result has come, and Claude says that it is idle, which it does
    not before background subagents have handed back and been answered. Releases that do not
    tell when they are idle are over with the result, once no subagent is at work.

    Args:
        announce: gives a turn's prompt to Claude.
        parks: tells whether a turn that seems to be over is to go on later.

    Attributes:
        active: the turn that is being answered.
    """

    def __init__(
        self,
        announce: Callable[[Turn], None],
        parks: Callable[[Turn], bool] = lambda _: False,
    ) -> None:
        self._announce = announce
        self._parks = parks
        self._lock = threading.RLock()
        self.active: Turn | None = None
        self._waiting: list[Turn] = []
        self._tells_state = False
        self._acknowledges = False
        self._last_result = ""  # the uuid of its line
        self._is_stray = False  # the result that was read last is no turn's that we know
        self._background = _NOBODY
        self._stopped = _NOBODY  # subagents that were ended, and no answer since
        self._commands = 0  # in the background

    def add(self, turn: Turn) -> None:
        """Take a turn; its prompt is announced at once, or when those before it are over."""
        with self._lock:
            self._waiting.append(turn)
            self._begin_next()

    def observe(self, event: Event) -> None:
        """Take an event in its place between the lines of the answer."""
        if self.active is None and not self._waiting and event.kind != "system":
            return
        with self._lock:
            turn = self.active
            if event.kind == "system":
                self._note_state(event.data)
            elif event.kind == "command_lifecycle":
                self._acknowledges = True
            elif event.kind == "result":
                self._is_stray = turn is not None and self._is_nobodys(event.data, turn)
            elif event.kind == "turn":
                self._stopped = _NOBODY
            if turn is not None and event.kind == "turn" and self._is_stray:
                turn.add_stray(event.data)
            elif turn is not None and not _of_another(event, turn):
                turn.add_event(event)
                if self._is_over(event, turn) and not self._parks(turn):
                    turn.finish(over=True, **self._left())
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
        """Wait until the turns that nobody has waited for or read are over.

        Args:
            seconds: how long, at most.
        """
        deadline = time.monotonic() + seconds
        with self._lock:
            turns = [turn for turn in (self.active, *self._waiting) if turn is not None]
        with suppress(TimeoutError):
            for turn in turns:
                if not turn.watched:
                    turn.wait(max(0.0, deadline - time.monotonic()))

    def is_due(self) -> bool:
        """Tell whether `keep_time` has something to do, without waiting for anything."""
        turn = self.active
        return turn is not None and (turn.done or turn.is_due())

    def keep_time(self) -> None:
        """Called once in a while, also where nobody waits for the turn."""
        with self._lock:
            if self.active is not None:
                self.active.keep_time()
            self._begin_next()

    def end(self, exit_status: int | None, stderr: str, *, ended: bool = True) -> None:
        """Claude's output is over, or read no further, and with it every turn."""
        with self._lock:
            turns = [turn for turn in (self.active, *self._waiting) if turn is not None]
            self.active = None
            self._waiting.clear()
            left = self._left()
        for turn in turns:
            turn.finish(ended=ended, exit_status=exit_status, stderr=stderr, **left)

    def _begin_next(self) -> None:
        if self.active is not None and self.active.done:
            self.active = None
        if self.active is None and self._waiting:
            self.active = self._waiting.pop(0)
            self.active.begin()
            self._announce(self.active)

    def _note_state(self, system: System) -> None:
        if system.subtype == "session_state_changed":
            self._tells_state = True
        elif system.subtype == "background_tasks_changed":
            tasks = [task for task in system.tasks or () if isinstance(task, dict)]
            agents = [task for task in tasks if task.get("task_type") == "local_agent"]
            self._background = frozenset(str(task.get("task_id")) for task in agents)
            self._commands = len(tasks) - len(agents)
        elif system.subtype == "task_notification" and system.status == "stopped":
            self._stopped |= {str(system.task_id)} & self._background

    def _is_nobodys(self, result: Result, turn: Turn) -> bool:
        """Return whether a result ends no turn: it names no prompt, and ours had no answer yet.

        So it is with a conversation that is gone on with, and with a line that came twice.
        """
        known, self._last_result = self._last_result, result.uuid or ""
        if known and known == result.uuid:
            return True
        if prompts_of(result) or result.origin is not None:
            return False
        if self._acknowledges and turn.uuid and not turn.known.resumed:
            return turn.heard in _NOT_BEGUN
        told = result.num_turns != 0 or result.result or result.is_error or result.local_command
        return not told and not turn.answered

    def _left(self) -> dict[str, int]:
        """Return what the turn that is over leaves behind."""
        return {
            "background": len(self._background - self._stopped),
            "stopped": len(self._stopped),
            "commands": self._commands,
        }

    def _is_over(self, event: Event, turn: Turn) -> bool:
        if not turn.results and not turn.dropped:
            return False
        if self._tells_state:
            return event.type == "system/session_state_changed" and event.data.state == "idle"
        return event.kind == "turn" and not self._background


def _of_another(event: Event, turn: Turn) -> bool:
    """Tell whether an event is the end of a turn that another prompt, or none, started."""
    if event.kind != "turn":
        return False
    record: TurnRecord = event.data
    if record.prompts:
        return turn.uuid not in record.prompts
    # Woken by a background task: part of this turn where that task was, so after its own result.
    return bool(record.origin) and not turn.results
