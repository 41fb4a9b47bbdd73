"""What a session does at the moment, as its folder tells."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from claude_mpm.journal.cursor import newest_lines, read_lines
from claude_mpm.journal.prompts import Prompt, answered_requests, prompts
from claude_mpm.journal.rate_limited import read_parked
from claude_mpm.processors.transcript_turns import TranscriptTurns
from claude_mpm.sessions.delivery import Fate, fates
from claude_mpm.sessions.state import Asked, SessionState
from claude_mpm.wire import WIRES, Transcript

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claude_mpm.journal.layout import Meta, SessionFolder
    from claude_mpm.records import TurnRecord
    from claude_mpm.sessions.index import Index
    from claude_mpm.wire.events import System


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
        """The state of a session that has ended, as a verb: "has ended", "was lost"."""
        return f"{'was' if self is State.LOST else 'has'} {self}"

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

    Only the last turn is read: all that is older has ended.

    Raises:
        StorageError: the session's record is damaged.
    """
    meta = folder.read_meta()
    said = read_state(folder, index)
    answered = answered_requests(folder) if said.asked else frozenset()
    questions = tuple(each for each in said.asked.values() if each.request_id not in answered)
    state = _state(folder, meta, said, questions)
    uuid, begin = said.turn or ("", said.begin)
    parked = read_parked(folder)
    if parked is not None and state is State.IDLE:
        state = State.PARKED
    return Status(
        state,
        said.turn is not None,
        uuid,
        begin,
        questions=questions if state.runs else (),
        unheard=tuple(answered.intersection(said.asked)),
        over=frozenset(said.closed),
        until=parked.until if parked is not None else None,
    )


def read_state(folder: SessionFolder, index: Index) -> SessionState:
    """Replay the last turn of a session's journal, and what came since; as `read_status`."""
    meta = folder.read_meta()
    begin = _begin_of_last_turn(meta, index.newest_turns(meta.session_id))
    # A power cut may have taken what the last start had before it.
    state = SessionState(min(begin, folder.journal.size()))
    wire = WIRES[meta.wire]
    turns = TranscriptTurns(meta.session_id) if meta.wire == Transcript.name else None
    for line in read_lines(folder.journal, state.begin):
        for event in wire.decode(line):
            state.apply(event)
            for found in turns(event) if turns else ():
                state.apply(found)
    return state


def prompt_fates(folder: SessionFolder, index: Index) -> list[tuple[Prompt, Fate]]:
    """Return every prompt with its state, oldest first; as `read_status`."""
    meta = folder.read_meta()
    start = meta.last_start.offset
    runs = folder.exit_status() is None and not folder.has_ended()
    answered = _answered(folder, index)
    since = index.position(meta.session_id).cursor
    recall = partial(index.heard, meta.session_id)
    return fates(folder, answered, start=start, runs=runs, recall=recall, since=since)


def was_taken(folder: SessionFolder, index: Index, uuid: str) -> bool:
    """Return whether Claude has acknowledged a prompt; as `read_status`."""
    known = prompt_fates(folder, index)
    return any(p.uuid == uuid and fate is not Fate.UNDELIVERED for p, fate in known)


def undelivered(folder: SessionFolder, index: Index) -> list[Prompt]:
    """Return the prompts to give to Claude: those it never heard of, and those that were cut."""
    wanted = (Fate.UNDELIVERED, Fate.CUT)
    return [prompt for prompt, fate in prompt_fates(folder, index) if fate in wanted]


def has_conversation(folder: SessionFolder, index: Index) -> bool:
    """Return whether Claude has begun a turn, and with it its own record of the conversation."""
    if any(turn.prompts for turn in index.newest_turns(folder.path.name)):
        return True
    wire = WIRES["stream-json"]
    lines = read_lines(folder.journal)
    return any(event.type == "system/init" for line in lines for event in wire.decode(line))


def held_conversation(folder: SessionFolder) -> str | None:
    """Return the UUID of the conversation that Claude held last; None where it has reported none.

    It says so at the beginning of every turn. Another begins with `/clear`, and where an argument
    says so, such as `--fork-session`. (Observed: Claude Code 2.1.330.)
    """
    conversations = (_uuid(init.session_id) for init in _newest_inits(folder, b'"init"'))
    return next(filter(None, conversations), None)


def held_version(folder: SessionFolder) -> str:
    """Return the version of Claude Code that a session's Claude reported last; empty for none."""
    inits = _newest_inits(folder, b'"claude_code_version"')
    return next((str(init.claude_code_version) for init in inits if init.claude_code_version), "")


def _newest_inits(folder: SessionFolder, mark: bytes) -> Iterator[System]:
    """Yield the beginnings of turns, the last one first; only lines with `mark` are decoded."""
    wire = WIRES["stream-json"]
    for line in newest_lines(folder.journal, 0, folder.journal.size()):
        for event in wire.decode(line) if mark in line.data else ():
            if event.type == "system/init":
                yield event.data


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
    for turn in newest_first:
        if not turn.origin:
            break
    before = next(newest_first, None)
    return max(meta.last_start.offset, before.end if before else 0)


def _state(
    folder: SessionFolder, meta: Meta, said: SessionState, questions: tuple[Asked, ...]
) -> State:
    if folder.exit_status() is not None:
        return State.ENDED
    if folder.has_ended():
        return State.LOST
    if folder.journal.size() == meta.last_start.offset:
        return State.STARTING
    return state_while_it_runs(said, asks=bool(questions))


def state_while_it_runs(said: SessionState, *, asks: bool) -> State:
    """Return what a session does whose Claude has said something.

    Args:
        said: what its events say.
        asks: whether a permission request is open.
    """
    if asks or said.waits:
        return State.WAITING
    return State.WORKING if said.at_work else State.IDLE
