"""Reading a session's last turn beside whoever drives it: no lease, nothing sent, nothing kept."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from claude_mpm.conversation.reasons import kept_reasons
from claude_mpm.conversation.turn import Turn
from claude_mpm.conversation.turn_tracker import TurnTracker
from claude_mpm.engine.command_line import asked_for_value
from claude_mpm.engine.resume import find_prompt
from claude_mpm.journal.folder_watch import subscribe
from claude_mpm.sessions.reader import LIVENESS_INTERVAL, open_beside
from claude_mpm.sessions.state import SessionState
from claude_mpm.sessions.status import State, read_status
from claude_mpm.wire.text_lines import LineAssembler

if TYPE_CHECKING:
    import threading
    from collections.abc import Collection, Iterator, Mapping

    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.sessions.reader import Session
    from claude_mpm.sessions.status import Status
    from claude_mpm.sessions.store import Store
    from claude_mpm.wire.events import Event

SETTLED = frozenset((State.IDLE, State.ENDED, State.LOST))  # in which no turn is under way


def read_turn(
    folder: SessionFolder, store: Store, status: Status, *, timeout: float | None = None
) -> Turn:
    """Read the turn that runs, or else was the last, until it or the session has ended.

    Args:
        status: what `read_status` says of the session.
        timeout: seconds to wait at most; the turn is not `done` then.
    """
    schema = asked_for_value(folder.read_meta())
    beside = _Beside(folder, status.begin)
    text = find_prompt(folder, status.uuid).text
    known = kept_reasons(folder).get(status.uuid, {})
    turn = Turn(text, beside, identity=status.uuid, schema=schema, **known)
    tracker = TurnTracker(beside)
    tracker.add(turn)
    assembler = LineAssembler()
    with closing(open_beside(folder, store.index, status.begin)) as reader:
        for event in _events(reader, turn, _moment(timeout)):
            for line in assembler.feed(event):
                tracker.take_line(line)
            beside.state.apply(event)
            tracker.observe(event)
        if reader.ended:
            tracker.end()
    return turn


class _Beside:
    """A session whose turn is read beside whoever drives it: nothing is given to its Claude."""

    def __init__(self, folder: SessionFolder, begin: int) -> None:
        self.state = SessionState(begin)
        self._folder = folder

    def announce(self, turn: Turn) -> None:
        """Do nothing: the prompt was given already."""

    def parks(self, turn: Turn) -> bool:
        """Return that the turn has ended that seems to be so."""
        return False

    def interrupt(self) -> None:
        """Do nothing: that is for whoever drives the session."""

    def unread(self) -> tuple[Event, ...]:
        """Return nothing: the turn has no deadline here."""
        return ()

    def keep_reason(self, prompt: str, known: Mapping[str, Any]) -> None:
        """Do nothing: whoever drives the session ends its turns."""

    def outcome(self) -> dict[str, Any]:
        """Return how the session has ended."""
        stderr = self._folder.stderr_tail()
        return {"ended": True, "exit_status": self._folder.exit_status(), "stderr": stderr}


def wait_for_acknowledgement(
    folder: SessionFolder, store: Store, uuid: str, *, since: int, timeout: float
) -> str:
    """Return what Claude says has become of a prompt, empty where it says nothing.

    Args:
        since: the byte of the journal to begin at.
        timeout: seconds to wait at most.
    """
    deadline, state = _moment(timeout), SessionState(since)
    with closing(open_beside(folder, store.index, since)) as reader:
        for event in _events(reader, None, deadline):
            state.apply(event)
            if said := state.delivery(uuid):
                return said
    return ""


def settled(
    store: Store,
    folder: SessionFolder,
    deadline: float,
    *,
    look: float | None = None,
    over: Collection[State] = SETTLED,
    ending: threading.Event | None = None,
) -> Status:
    """Wait until a session neither starts nor works, or the time is up; return its status then.

    Args:
        deadline: in seconds on the monotonic clock.
        look: seconds between two looks for an open permission request, which ends the wait, too;
            None for no such looks.
        over: the states that end the wait.
        ending: ends the wait, too, once it is set; looked at as often as for such requests.

    Raises:
        StorageError: the journal or the index cannot be read.
    """
    longest = 1e9 if look is None else look  # seconds; more is too large for a wait
    with closing(subscribe(folder.exchange)) as changes:
        while True:
            store.catch_up(folder)
            status = read_status(folder, store.index)
            left = min(deadline - time.monotonic(), longest)
            asks = look is not None and status.questions
            ends = ending is not None and ending.is_set()
            if status.state in over or asks or ends or left <= 0:
                return status
            if status.begun and status.state is not State.PARKED:
                read_turn(folder, store, status, timeout=left)
            else:
                changes.wait(min(left, LIVENESS_INTERVAL))


def read_to_end(folder: SessionFolder, store: Store) -> None:
    """Wait until a session has ended."""
    with closing(open_beside(folder, store.index, folder.journal.size())) as reader:
        for _ in _events(reader, None, _moment(None)):
            pass


def _events(reader: Session, turn: Turn | None, deadline: float) -> Iterator[Event]:
    while not reader.ended and time.monotonic() < deadline:
        for event in reader.read(min(LIVENESS_INTERVAL, deadline - time.monotonic())):
            yield event
            if turn is not None and turn.done:
                return


def _moment(timeout: float | None) -> float:
    return float("inf") if timeout is None else time.monotonic() + timeout
