"""The state of every prompt of a session, as its inbox and its journal say."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from claude_mpm.journal.cursor import read_lines
from claude_mpm.journal.prompts import interrupts, prompts
from claude_mpm.sessions.state import COMPLETED, DELIVERY, FINISHED, STARTED, SessionState
from claude_mpm.wire import WIRES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.journal.prompts import Prompt

    Heard = dict[str, tuple[float, str]]
    Recall = Callable[[Collection[str]], Heard]

_wire = WIRES["stream-json"]


class Fate(StrEnum):
    """What can become of a prompt.

    CUT is one whose Claude died before the turn was over; DROPPED is one that will not be run:
    Claude said so, or somebody asked for the turn to be ended before Claude died.
    """

    UNDELIVERED = "never delivered"
    QUEUED = "delivered"
    RUNNING = "running"
    CUT = "cut"
    FINISHED = "finished"
    DROPPED = "dropped"


# What a line has in which Claude says something of a prompt, or answers a request.
_MARKS = tuple(kind.encode() for kind in DELIVERY)


def fates(
    folder: SessionFolder,
    answered: Collection[str],
    *,
    start: int,
    runs: bool,
    recall: Recall = lambda _: {},
    since: int = 0,
) -> list[tuple[Prompt, Fate]]:
    """Return every prompt in the inbox, oldest first, with its state.

    Args:
        answered: the uuids of prompts that have a result.
        start: where in the journal Claude's last start is, in bytes.
        runs: whether that Claude still runs.
        recall: returns the last that Claude said of prompts and requests before `since`: where, and
            their state.
        since: how much of the journal need not be read for it, in bytes.
    """
    put = prompts(folder)
    open_ = {prompt.uuid for prompt in put}.difference(answered)
    heard, interrupted = _heard(folder, open_, recall, since) if open_ else ({}, {})
    found = []
    for prompt in put:
        offset, fate = 0.0, Fate.UNDELIVERED
        if prompt.uuid in heard:
            offset, state = heard[prompt.uuid]
            fate = _fate(state)
        if prompt.uuid in answered:
            fate = Fate.FINISHED
        elif fate in (Fate.QUEUED, Fate.RUNNING) and not (runs and offset >= start):
            # An interrupt that Claude answered before it heard of the prompt was for another.
            ended = any(n > prompt.name and at >= offset for n, at in interrupted.items())
            fate = Fate.DROPPED if ended else Fate.CUT
        found.append((prompt, fate))
    return found


def _fate(word: str) -> Fate:
    """Return the state of a prompt of which Claude said a word last."""
    if word in FINISHED:
        return Fate.FINISHED if word == COMPLETED else Fate.DROPPED
    return Fate.RUNNING if word == STARTED else Fate.QUEUED


def _heard(
    folder: SessionFolder, uuids: Collection[str], recall: Recall, since: int
) -> tuple[Heard, dict[str, float]]:
    """Return the last that Claude said of each prompt, and when it answered each interrupt.

    When is where in the journal; an interrupt without an answer came after everything.
    """
    asked = interrupts(folder)
    state = SessionState(since)
    state.recall(recall([*uuids, *asked]))
    for line in read_lines(folder.journal, since):
        if any(mark in line.data for mark in _MARKS):  # the others need not be decoded
            for event in _wire.decode(line):
                state.apply(event)
    nowhere = (float("inf"), "")
    said = state.said
    return said, {name: said.get(request, nowhere)[0] for request, name in asked.items()}
