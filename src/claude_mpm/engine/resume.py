"""Taking up a session: following it where it runs, starting it again, answering it, ending it."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.conversation.question import Question
from claude_mpm.conversation.turn import Turn
from claude_mpm.engine.command_line import asks_for_value
from claude_mpm.errors import SessionEnded, UsageError
from claude_mpm.journal.prompts import Prompt, prompts
from claude_mpm.journal.rate_limited import read_parked
from claude_mpm.sessions.delivery import Fate
from claude_mpm.sessions.status import prompt_fates, read_state, read_status, undelivered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claude_mpm.engine.live_session import LiveSession
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.sessions.state import SessionState
    from claude_mpm.sessions.status import Status


class Takeover(msgspec.Struct, frozen=True):
    """What was found when a session was taken up.

    Args:
        current: the prompt whose turn runs, or was the last; its turn is read from its beginning.
        parked: the prompt that waits for the rate limit.
        undelivered: prompts to give to Claude again.
        resumed: the uuids of those whose turns Claude did not live to end.
        over: the ids of questions of the current turn that nobody need be asked.
    """

    current: Prompt | None = None
    parked: Prompt | None = None
    undelivered: tuple[Prompt, ...] = ()
    resumed: frozenset[str] = frozenset()
    over: frozenset[str] = frozenset()


def take_over(live: LiveSession) -> Takeover:
    """Follow the session where it runs, or start its conversation again.

    Prompts that Claude was never heard to acknowledge are to be given to it again: it runs none
    twice. So are those whose turns it did not live to end: it goes on with them. Only one of those
    who follow a session does that, so that none waits for a turn that another has had.

    Raises:
        NotOwner: another is starting it.
        MPMError: there is no such session, or it cannot be started.
    """
    folder = live.folder
    if not folder.meta_file.exists():
        raise UsageError(f"there is no session {folder.path.name} to resume")
    alone = live.claim()
    live.rejoin()
    if folder.link_file.exists() and folder.exit_status() is None and not folder.has_host():
        live.rejoin()  # its link was dying when it was looked at: only the next one knows
    runs = folder.exit_status() is None and folder.has_host() and not folder.has_ended()
    if not runs and not alone:
        raise live.ownership.refusal()
    live.store.catch_up(folder)
    if not runs:
        return _start_again(live)
    gives = alone and not folder.closed.exists()
    left = tuple(undelivered(folder, live.store.index)) if gives else ()
    status = read_status(folder, live.store.index)
    live.attach(status.begin)
    if gives:
        _answer_again(live, status)
    return Takeover(
        current=find_prompt(folder, status.uuid) if status.begun else None,
        parked=_find_parked(folder) if gives else None,
        undelivered=left,
        over=status.over.union(status.unheard),
    )


def _start_again(live: LiveSession) -> Takeover:
    """Start Claude, and with it what it did not live to do; that is read from its beginning."""
    known = prompt_fates(live.folder, live.store.index)
    cut = [prompt for prompt, fate in known if fate is Fate.CUT]
    said = read_state(live.folder, live.store.index) if cut else None
    framework = live.loader.load() if live.loader is not None else None
    live.launch(framework, cut=cut, since=_begin(said) if said is not None else None)
    return Takeover(
        parked=_find_parked(live.folder),
        undelivered=tuple(p for p, fate in known if fate in (Fate.UNDELIVERED, Fate.CUT)),
        resumed=frozenset(prompt.uuid for prompt in cut),
        over=frozenset((*said.closed, *said.asked)) if said is not None else frozenset(),
    )


def _begin(said: SessionState) -> int:
    """Return where the last turn of a journal begins."""
    return said.turn[1] if said.turn is not None else said.begin


def _answer_again(live: LiveSession, status: Status) -> None:
    """Give Claude the answers that it may not have got from one who died."""
    unheard = [*status.unheard, *(asked.request_id for asked in status.questions)]
    with suppress(SessionEnded):  # meanwhile; then there is nobody to tell
        live.input.answer_again(unheard)


def turns_of(taken: Takeover, live: LiveSession) -> list[Turn]:
    """Make turns of what was asked before; they must be known before anything is read."""
    current, parked = taken.current, taken.parked
    if current is not None and parked is not None and current.uuid == parked.uuid:
        parked = None  # it is the one that is read again
    return [
        Turn(
            prompt.text,
            live,
            command=prompt.command,
            identity=prompt.uuid,
            name="" if prompt is current or prompt is parked else prompt.name,
            resumed=int(prompt.uuid in taken.resumed),
            schema=asks_for_value(live.options.claude_args),
        )
        for prompt in (*filter(None, (current, parked)), *taken.undelivered)
    ]


def _find_parked(folder: SessionFolder) -> Prompt | None:
    """Return the prompt that waits for the rate limit, if there is one."""
    parked = read_parked(folder)
    return find_prompt(folder, parked.prompt) if parked is not None else None


def find_prompt(folder: SessionFolder, uuid: str) -> Prompt:
    """Return a prompt of a session; without name and text where its inbox does not have it."""
    return next((p for p in prompts(folder) if p.uuid == uuid), Prompt(uuid=uuid))


def end_session(live: LiveSession) -> str:
    """End the Claude of a session, whoever started it, and say how it ended."""
    try:
        with suppress(SessionEnded):  # by itself, meanwhile
            live.attach(live.folder.journal.size())
            if live.folder.pids() is None:  # it starts still, which may take the place long
                live.folder.give_up_start()
            live.end(None)
    finally:
        live.release()
    return live.ending()


@contextmanager
def reach(live: LiveSession) -> Iterator[list[Question]]:
    """Hold a session's Claude meanwhile, and give the questions that it waits with.

    Prompts that others left undelivered are not given to Claude: that is for whoever follows.

    Raises:
        MPMError: the session has ended, or cannot be reached.
    """
    folder = live.folder
    try:
        live.rejoin()
        live.attach(folder.journal.size())
        live.store.catch_up(folder)
        asked = read_status(folder, live.store.index).questions
        yield [Question(each.request_id, each.request, live) for each in asked]
    finally:
        live.release()
