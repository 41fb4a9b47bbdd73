"""The observer that finds out when a session needs a person, and notifies somebody."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from datetime import date
from typing import TYPE_CHECKING

from claude_mpm.conversation.observer import Observer
from claude_mpm.conversation.question import input_of
from claude_mpm.conversation.verdict import Outcome
from claude_mpm.engine.lifecycle import Phase
from claude_mpm.engine.notification import Notification, Notifications
from claude_mpm.wire.events import ControlRequest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from claude_mpm.conversation.turn import Turn
    from claude_mpm.conversation.verdict import Verdict
    from claude_mpm.engine.live_session import LiveSession
    from claude_mpm.engine.notification import Kind, Notify
    from claude_mpm.engine.supervision.budget import Budget
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.wire.events import Event

NEAR = 0.8  # part of a budget
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_LONGEST = 200  # characters of what a tool gets
# What somebody has wanted, or what is no trouble.
_WANTED = frozenset({Outcome.COMPLETED, Outcome.INTERRUPTED})


class Attention(Observer):
    """Notifies of permission requests, of turns that ended badly, and of budgets that are near.

    Notifications are sent in a thread of their own, so nothing here waits but `close`.

    Args:
        live: the session.
        notify: who is notified, and how.
        budget: the session's budgets, if it has any.
    """

    def __init__(self, live: LiveSession, notify: Notify, budget: Budget | None) -> None:
        self._live = live
        self._notify = notify
        self._budget = budget
        # Held by the reader of the session and by whoever closes it, and never while one waits: it
        # guards what both take out of `_turns`, and that there is one `Notifications`.
        self._looking = threading.Lock()
        self._turns: deque[Turn] = deque()  # that have begun and were not seen to end
        self._near: set[str] = set()  # budgets that were found to be near; the reader's alone
        self._notifications: Notifications | None = None

    def observe(self, event: Event) -> None:
        """Take an event, after the questions, the turns and the budgets have taken it."""
        request = event.data
        if isinstance(request, ControlRequest) and not callable(self._live.options.permissions):
            asked = self._live.state.asked.get(request.request_id)
            if asked is not None:
                self._send(**of_request(self._live.folder, asked.request_id, asked.request))
        self._look_at_turns()
        if self._budget is not None and event.kind in ("assistant", "control_response", "turn"):
            self._look_at_budget(self._budget)

    def act(self) -> None:
        """Look whether the turn has ended otherwise than by an event, such as by its deadline."""
        self._look_at_turns()

    def end(self) -> None:
        """Look at the turn with which the session has ended."""
        self._look_at_turns()

    def close(self) -> None:
        """Wait until all notifications have been sent."""
        self._look_at_turns()
        if self._notifications is not None:
            self._notifications.close()

    def watch(self, turn: Turn) -> None:
        """Watch a turn; called by whoever gives its prompt to Claude."""
        self._turns.append(turn)

    def _look_at_turns(self) -> None:
        if self._live.life.phase is Phase.DETACHED:  # it goes on, and others look at it
            return
        ended = []
        with self._looking:
            while self._turns and self._turns[0].done:  # in the order in which they begin
                ended.append(self._turns.popleft())
        for turn in ended:
            if found := of_verdict(self._live.folder, turn.uuid, turn.verdict):
                self._send(**found)

    def _look_at_budget(self, budget: Budget) -> None:
        turn = self._live.turns.active
        for span, found in budget.near(NEAR):
            identity = {
                "turn": f"turn {turn.uuid if turn is not None else ''}",
                "session": "session",
                "day": f"day {date.today().isoformat()}",
            }[span]
            if identity in self._near:
                continue
            name = self._live.folder.path.name[:8]
            was_taken = self._send(
                event="budget-near",
                id=identity,
                reason=f"the budget of this {span} is nearly used up: {found}",
                command=f"claude-mpm show {name}",
            )
            if was_taken:
                self._near.add(identity)

    def _send(self, event: Kind, id: str, reason: str, command: str, tool: str = "") -> bool:
        """Send a notification soon; return whether there was room for it."""
        with self._looking:
            if self._notifications is None:
                self._notifications = Notifications(self._live.folder, self._notify)
            notifications = self._notifications
        return notifications.send(
            Notification(
                event=event,
                id=id,
                session=self._live.folder.path.name,
                environment=self._live.environment.name,
                cwd=self._live.options.cwd or "",
                reason=reason,
                command=command,
                at=time.time(),
                tool=tool,
            )
        )


def of_request(folder: SessionFolder, name: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a permission request's notification; its words are Claude's own."""
    session, tool = folder.path.name[:8], str(request.get("tool_name", ""))
    given = " ".join(str(value) for value in input_of(dict(request)).values())[:_LONGEST]
    question = name[:8] if _PLAIN.fullmatch(name[:8]) else ""
    answers = f"claude-mpm answer {session} {question} allow|deny"
    return {
        "event": "permission-request",
        "id": name,
        "reason": f"Claude asks whether it may use {tool}: {given}",
        "command": answers if question else f"claude-mpm questions {session}",
        "tool": tool,
    }


def of_verdict(folder: SessionFolder, turn: str, verdict: Verdict) -> dict[str, Any]:
    """Return the fields of the notification of a turn that ended badly; none for another."""
    if verdict.outcome in _WANTED and "budget" not in verdict.reason:
        return {}
    session = folder.path.name[:8]
    return {
        "event": "ended-badly",
        "id": turn or verdict.reason,
        "reason": f"the turn {verdict}",
        "command": f"claude-mpm resume {session}",
    }
