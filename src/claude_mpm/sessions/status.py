"""What a session does at the moment, as its folder tells."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from claude_mpm.journal.cursor import newest_lines, read_lines
from claude_mpm.journal.prompts import Prompt, answered_requests, prompts
from claude_mpm.journal.rate_limited import read_parked
from claude_mpm.processors.transcript_turns import TranscriptTurns
from claude_mpm.sessions.delivery import Fate, fates
from claude_mpm.wire import WIRES, Transcript
from claude_mpm.wire.events import prompts_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from claude_mpm.journal.layout import Meta, SessionFolder
    from claude_mpm.records import TurnRecord
    from claude_mpm.sessions.index import Index
    from claude_mpm.wire.events import Assistant, Event, Result, User


class State(StrEnum):
    """What a session can be doing.

    LOST is one whose host is gone without a word: it was killed, or the machine was.
    """

    STARTING = "starting"
    PARKED = "waiting for the rate limit"
    WORKING = "working"
    WAITING = "waiting for an answer"
    IDLE = "idle"
    ENDED = "ended"
    LOST = "lost"

    @property
    def since(self) -> str:
        """The state of a session that is over, as a verb: "has ended", "was lost"."""
        return f"{'was' if self is State.LOST else 'has'} {self}"

    @property
    def runs(self) -> bool:
        """Whether there is a Claude."""
        return self not in (State.ENDED, State.LOST)


class Asked(msgspec.Struct, frozen=True):
    """A question of Claude's as the journal has it.

    Args:
        request_id: Claude's name for it.
        request: what Claude asks.
        at: the time of what stands before it in the journal; empty where that has none.
    """

    request_id: str
    request: dict[str, Any]
    at: str = ""


class Status(msgspec.Struct, frozen=True):
    """What a session does.

    Args:
        begun: whether there is a turn: the one that runs, or else the last one.
        uuid: of its prompt; empty where that had none.
        begin: where in the journal it begins, in bytes; where there is none, the last start.
        questions: what Claude waits for an answer to.
        unheard: the ids of questions that were answered, where nothing shows yet that Claude has
            the answer.
        over: the ids of questions that Claude no longer asks.
        until: when the rate limit is lifted that a prompt waits for, in seconds since the epoch.
    """

    state: State
    begun: bool = False
    uuid: str = ""
    begin: int = 0
    questions: tuple[Asked, ...] = ()
    unheard: tuple[str, ...] = ()
    over: frozenset[str] = frozenset()
    until: float | None = None


def read_status(folder: SessionFolder, index: Index) -> Status:
    """Return what a session does; the index must have been brought up to date before.

    Only the last turn is read: all that is older is over.

    Raises:
        StorageError: the session's record is damaged.
    """
    meta = folder.read_meta()
    begin = _begin_of_last_turn(meta, index.newest_turns(meta.session_id))
    # A power cut may have taken what the last start had before it.
    tail = _Tail(min(begin, folder.journal.size()))
    wire = WIRES[meta.wire]
    turns = TranscriptTurns(meta.session_id) if meta.wire == Transcript.name else None
    for line in read_lines(folder.journal, tail.begin):
        for event in wire.decode(line):
            tail.observe(event)
            for found in turns(event) if turns else ():
                tail.observe(found)
    answered = answered_requests(folder) if tail.asked else frozenset()
    questions = tuple(each for each in tail.asked.values() if each.request_id not in answered)
    state = _state(folder, meta, tail, questions)
    uuid, begin = tail.turn or ("", tail.begin)
    parked = read_parked(folder)
    if parked is not None and state is State.IDLE:
        state = State.PARKED
    return Status(
        state,
        tail.turn is not None,
        uuid,
        begin,
        questions=questions if state.runs else (),
        unheard=tuple(answered.intersection(tail.asked)),
        over=frozenset(tail.over),
        until=parked.until if parked is not None else None,
    )


def prompt_fates(folder: SessionFolder, index: Index) -> list[tuple[Prompt, Fate]]:
    """Return every prompt with what has become of it, oldest first; as `read_status`."""
    meta = folder.read_meta()
    start = meta.starts[-1].offset if meta.starts else 0
    runs = folder.exit_status() is None and not folder.has_ended()
    answered = _answered(folder, index)
    since = index.position(meta.session_id).cursor
    recall = partial(index.heard, meta.session_id)
    return fates(folder, answered, start=start, runs=runs, recall=recall, since=since)


def undelivered(folder: SessionFolder, index: Index) -> list[Prompt]:
    """Return the prompts to give to Claude: those it never heard of, and those that were cut."""
    wanted = (Fate.UNDELIVERED, Fate.CUT)
    return [prompt for prompt, fate in prompt_fates(folder, index) if fate in wanted]


def has_conversation(folder: SessionFolder, index: Index) -> bool:
    """Tell whether Claude has begun a turn, and with it its own record of the conversation."""
    if any(turn.prompts for turn in index.newest_turns(folder.path.name)):
        return True
    wire = WIRES["stream-json"]
    lines = read_lines(folder.journal)
    return any(event.type == "system/init" for line in lines for event in wire.decode(line))


def held_conversation(folder: SessionFolder) -> str | None:
    """Return the UUID of the conversation that Claude held last; None where it has told of none.

    It says so at the beginning of every turn. Another begins with `/clear`, and where an argument
    says so, such as `--fork-session`. (Observed: Claude Code 2.1.330.)
    """
    wire = WIRES["stream-json"]
    for line in newest_lines(folder.journal, 0, folder.journal.size()):
        for event in wire.decode(line) if b'"init"' in line.data else ():
            if event.type == "system/init" and (told := _uuid(event.data.session_id)):
                return told
    return None


def _uuid(text: str | None) -> str | None:
    try:
        return str(UUID(text)) if text else None
    except ValueError:
        return None


def _answered(folder: SessionFolder, index: Index) -> set[str]:
    """Return the uuids of prompts in the inbox that have a result: most often it is the newest."""
    missing = {prompt.uuid for prompt in prompts(folder)}
    answered: set[str] = set()
    for turn in index.newest_turns(folder.path.name) if missing else ():
        answered.update(turn.prompts)
        if missing <= answered:
            break
    return answered


def _begin_of_last_turn(meta: Meta, newest_first: Iterator[TurnRecord]) -> int:
    """Return where the last turn that a prompt started begins: behind all that was before it."""
    start = meta.starts[-1].offset if meta.starts else 0
    for turn in newest_first:
        if not turn.origin:
            break
    before = next(newest_first, None)
    return max(start, before.end if before else 0)


def _state(folder: SessionFolder, meta: Meta, tail: _Tail, questions: tuple[Asked, ...]) -> State:
    if folder.exit_status() is not None:
        return State.ENDED
    if folder.has_ended():
        return State.LOST
    start = meta.starts[-1].offset if meta.starts else 0
    if folder.journal.size() == start:
        return State.STARTING
    if questions or tail.waits:
        return State.WAITING
    return State.WORKING if tail.works else State.IDLE


class _Tail:
    """What the end of a journal says."""

    def __init__(self, begin: int) -> None:
        self.begin = begin
        self.waits = False  # for a person at its screen
        self.asked: dict[str, Asked] = {}  # that are not over
        self.over: set[str] = set()
        self._clock = ""
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
            case "turn" if event.data.withdrawn:
                self._reopen(event.data.prompts)
            case "turn":
                self._note_turn(event.data.prompts, event.end, woken=bool(event.data.origin))
            case "system" if event.data.subtype == "host_state":
                self.waits = event.data.state == "waiting"
            case "system" if event.data.subtype == "session_state_changed":
                self._note_told(event.data.state or "")
            case "control_request" if event.data.request.get("subtype") == "can_use_tool":
                name, request = event.data.request_id, event.data.request
                self.asked[name] = Asked(name, request, self._clock)
            case "control_cancel_request":
                self._note_over([event.data.request_id])
            case "assistant" | "user":
                self._clock = event.data.timestamp or self._clock
                self._note_results(event.data)

    def _note_prompt(self, uuid: str, state: str) -> None:
        if state not in ("queued", "started"):
            self._close(uuid)
        elif uuid not in self._over:
            self._open.setdefault(uuid, self._result_end)

    def _reopen(self, prompts: Iterable[str]) -> None:
        """Claude has taken prompts after all that counted as not taken."""
        for uuid in prompts:
            self._over.discard(uuid)
            self._note_prompt(uuid, "started")

    def _note_result(self, result: Result, end: int) -> None:
        self._note_turn(prompts_of(result), end, woken=result.origin is not None)
        if not self._told:  # it does not tell when it is idle
            self._note_over(list(self.asked))

    def _note_turn(self, prompts: Iterable[str], end: int, *, woken: bool) -> None:
        if not woken:
            # A prompt without identity: the turn is known by its place alone.
            self._last = ("", self._result_end)
        for uuid in prompts:
            self._close(uuid)
        self._result_end = end

    def _note_told(self, state: str) -> None:
        self._told = state
        if state == "idle":  # a subagent in the background may still ask after a turn's result
            self._note_over(list(self.asked))

    def _note_results(self, said: Assistant | User) -> None:
        """A tool that has its result is asked about no more."""
        if self.asked:
            done = {block.tool_use_id for block in said.message.blocks if block.tool_use_id}
            asked = self.asked.items()
            self._note_over([name for name, q in asked if q.request.get("tool_use_id") in done])

    def _note_over(self, questions: list[str]) -> None:
        for name in questions:
            self.over.add(name)
            self.asked.pop(name, None)

    def _close(self, uuid: str) -> None:
        self._over.add(uuid)
        begin = self._open.pop(uuid, None)
        if begin is not None:
            self._last = (uuid, begin)
