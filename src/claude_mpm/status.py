"""What a session does at the moment, as its folder tells."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.journal.cursor import read_lines
from claude_mpm.journal.prompts import Prompt, answered_requests, prompts
from claude_mpm.wire import WIRES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_mpm.index import Index
    from claude_mpm.journal.layout import Meta, SessionFolder
    from claude_mpm.records import TurnRecord
    from claude_mpm.wire.events import Event, Result


class State(StrEnum):
    """What a session can be doing.

    LOST is one whose host is gone without a word: it was killed, or the machine was.
    """

    STARTING = "starting"
    WORKING = "working"
    WAITING = "waiting for an answer"
    IDLE = "idle"
    ENDED = "ended"
    LOST = "lost"

    @property
    def runs(self) -> bool:
        """Whether there is a Claude."""
        return self not in (State.ENDED, State.LOST)


class Status(msgspec.Struct, frozen=True):
    """What a session does.

    Args:
        begun: whether there is a turn: the one that runs, or else the last one.
        uuid: of its prompt; empty where that had none.
        begin: where in the journal it begins, in bytes; where there is none, the last start.
    """

    state: State
    begun: bool = False
    uuid: str = ""
    begin: int = 0


def read_status(folder: SessionFolder, index: Index) -> Status:
    """Return what a session does; the index must have been brought up to date before.

    Only the last turn is read: all that is older is over.

    Raises:
        StorageError: the session's record is damaged.
    """
    meta = folder.read_meta()
    tail = _Tail(_begin_of_last_turn(meta, index.turns(meta.session_id)))
    wire = WIRES[meta.wire]
    for line in read_lines(folder.journal, tail.begin):
        for event in wire.decode(line):
            tail.observe(event)
    state = _state(folder, meta, tail)
    if tail.turn is None:
        return Status(state, begin=tail.begin)
    return Status(state, True, *tail.turn)


def undelivered(folder: SessionFolder, index: Index) -> list[Prompt]:
    """Return the prompts that Claude was never heard to acknowledge, oldest first."""
    answered = {uuid for turn in index.turns(folder.path.name) for uuid in turn.prompts}
    waiting = {prompt.uuid: prompt for prompt in prompts(folder) if prompt.uuid not in answered}
    if not waiting:
        return []
    wire = WIRES["stream-json"]
    for line in read_lines(folder.journal):
        if b"command_lifecycle" in line.data:
            for event in wire.decode(line):
                if event.kind == "command_lifecycle":
                    waiting.pop(event.data.command_uuid, None)
    return list(waiting.values())


def has_conversation(folder: SessionFolder, index: Index) -> bool:
    """Tell whether Claude has begun a turn, and with it its own record of the conversation."""
    if any(turn.prompts for turn in index.turns(folder.path.name)):
        return True
    wire = WIRES["stream-json"]
    lines = read_lines(folder.journal)
    return any(event.type == "system/init" for line in lines for event in wire.decode(line))


def _begin_of_last_turn(meta: Meta, turns: Sequence[TurnRecord]) -> int:
    """Return where the last turn that a prompt started begins: behind all that was before it."""
    start = meta.starts[-1].offset if meta.starts else 0
    last = next((n for n in reversed(range(len(turns))) if not turns[n].origin), 0)
    return max(start, turns[last - 1].end if last else 0)


def _state(folder: SessionFolder, meta: Meta, tail: _Tail) -> State:
    if folder.exit_status() is not None:
        return State.ENDED
    if folder.has_ended():
        return State.LOST
    start = meta.starts[-1].offset if meta.starts else 0
    if folder.journal.stat().st_size == start:
        return State.STARTING
    if tail.asked and tail.asked.difference(answered_requests(folder)):
        return State.WAITING
    return State.WORKING if tail.works else State.IDLE


class _Tail:
    """What the end of a journal says."""

    def __init__(self, begin: int) -> None:
        self.begin = begin
        self.asked: set[str] = set()
        self._open: dict[str, int] = {}  # acknowledged prompts: where their turn begins
        self._over: set[str] = set()
        self._last: tuple[str, int] | None = None  # the last turn that is over
        self._told = ""
        self._result_end = begin

    @property
    def turn(self) -> tuple[str, int] | None:
        """The prompt whose turn runs, or else was the last, and where that turn begins."""
        return next(iter(self._open.items()), self._last)

    @property
    def works(self) -> bool:
        """Whether a prompt has no result yet, or Claude says that it is at work."""
        return bool(self._open) or self._told == "running"

    def observe(self, event: Event) -> None:
        match event.kind:
            case "command_lifecycle":
                self._note_prompt(event.data.command_uuid, event.data.state)
            case "result":
                self._note_result(event.data, event.end)
            case "system" if event.data.subtype == "session_state_changed":
                self._told = event.data.state or ""
            case "control_request" if event.data.request.get("subtype") == "can_use_tool":
                self.asked.add(event.data.request_id)
            case "control_cancel_request":
                self.asked.discard(event.data.request_id)

    def _note_prompt(self, uuid: str, state: str) -> None:
        if state not in ("queued", "started"):
            self._close(uuid)
        elif uuid not in self._over:
            self._open.setdefault(uuid, self._result_end)

    def _note_result(self, result: Result, end: int) -> None:
        if result.origin is None:
            # A prompt without identity: the turn is known by its place alone.
            self._last = ("", self._result_end)
        for uuid in result.user_message_uuids or (result.user_message_uuid or "",):
            self._close(uuid)
        self.asked.clear()
        self._result_end = end

    def _close(self, uuid: str) -> None:
        self._over.add(uuid)
        begin = self._open.pop(uuid, None)
        if begin is not None:
            self._last = (uuid, begin)
