"""One turn for each prompt: who is answered now, and who waits."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_mpm.orchestration.question import Question
    from claude_mpm.orchestration.turn import Turn
    from claude_mpm.records import TurnRecord
    from claude_mpm.wire.events import Event, System


class TurnTracker:
    """Gives Claude one prompt at a time and tells where its turn ends.

    Claude joins prompts that come while it works into one turn, so the next is only announced
    when the last is over: its result has come, and Claude says that it is idle, which it does
    not before background subagents have handed back and been answered. Releases that do not
    tell when they are idle are over with the result, once no subagent is at work.

    Args:
        announce: gives a turn's prompt to Claude.
    """

    def __init__(self, announce: Callable[[Turn], None]) -> None:
        self._announce = announce
        self._lock = threading.RLock()
        self._active: Turn | None = None
        self._waiting: deque[Turn] = deque()
        self._tells_state = False
        self._background: set[str] = set()

    @property
    def active(self) -> Turn | None:
        """The turn that is being answered."""
        return self._active

    def add(self, turn: Turn) -> None:
        """Take a turn; its prompt is announced at once, or when those before it are over."""
        with self._lock:
            self._waiting.append(turn)
            self._begin_next()

    def observe(self, event: Event) -> None:
        """Take an event in its place between the lines of the answer."""
        if self._active is None and not self._waiting and event.kind != "system":
            return
        with self._lock:
            if event.kind == "system":
                self._note_state(event.data)
            turn = self._active
            if turn is not None and not _of_another(event, turn):
                turn.add_event(event)
                if self._is_over(event, turn):
                    turn.finish(background=len(self._background))
            self._begin_next()

    def ask(self, question: Question) -> None:
        """Give a question of Claude's to the turn that it belongs to."""
        with self._lock:
            if self._active is not None:
                self._active.add_question(question)

    def take_line(self, line: str) -> bool:
        """Give a line to the turn that is being answered; False where there is none."""
        with self._lock:
            turn = self._active
            if turn is None or turn.done:
                return False
            turn.add_line(line)
            return True

    def keep_time(self) -> None:
        """Called once in a while, also where nobody waits for the turn."""
        with self._lock:
            if self._active is not None:
                self._active.keep_time()
            self._begin_next()

    def end(self, exit_status: int | None, stderr: str, *, ended: bool = True) -> None:
        """Claude's output is over, or read no further, and with it every turn."""
        with self._lock:
            turns = [turn for turn in (self._active, *self._waiting) if turn is not None]
            self._active = None
            self._waiting.clear()
            background = len(self._background)
        for turn in turns:
            turn.finish(ended=ended, exit_status=exit_status, stderr=stderr, background=background)

    def _begin_next(self) -> None:
        if self._active is not None and self._active.done:
            self._active = None
        if self._active is None and self._waiting:
            self._active = self._waiting.popleft()
            self._active.begin()
            self._announce(self._active)

    def _note_state(self, system: System) -> None:
        if system.subtype == "session_state_changed":
            self._tells_state = True
        elif system.subtype == "background_tasks_changed":
            tasks = [task for task in system.tasks or () if isinstance(task, dict)]
            self._background = {
                str(task.get("task_id")) for task in tasks if task.get("task_type") == "local_agent"
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
