"""What has become of every prompt of a session, as its inbox and its journal tell."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from claude_mpm.journal.cursor import read_lines
from claude_mpm.journal.prompts import interrupts, prompts
from claude_mpm.wire import WIRES

if TYPE_CHECKING:
    from collections.abc import Collection

    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.journal.prompts import Prompt

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


_STATES = {
    "queued": Fate.QUEUED,
    "started": Fate.RUNNING,
    "completed": Fate.FINISHED,
    "cancelled": Fate.DROPPED,
    "discarded": Fate.DROPPED,
    "refused": Fate.DROPPED,
}


def fates(
    folder: SessionFolder, answered: Collection[str], *, start: int, runs: bool
) -> list[tuple[Prompt, Fate]]:
    """Return every prompt in the inbox, oldest first, with what has become of it.

    Args:
        answered: the uuids of prompts that have a result.
        start: where in the journal Claude's last start is, in bytes.
        runs: whether that Claude still runs.
    """
    put = prompts(folder)
    open_ = {prompt.uuid for prompt in put}.difference(answered)
    heard, interrupted = _heard(folder, open_) if open_ else ({}, {})
    found = []
    for prompt in put:
        fate, offset = heard.get(prompt.uuid, (Fate.UNDELIVERED, 0))
        if prompt.uuid in answered:
            fate = Fate.FINISHED
        elif fate in (Fate.QUEUED, Fate.RUNNING) and not (runs and offset >= start):
            # An interrupt that Claude answered before it heard of the prompt was for another.
            ended = any(n > prompt.name and at >= offset for n, at in interrupted.items())
            fate = Fate.DROPPED if ended else Fate.CUT
        found.append((prompt, fate))
    return found


def _heard(
    folder: SessionFolder, uuids: Collection[str]
) -> tuple[dict[str, tuple[Fate, int]], dict[str, float]]:
    """Return the last that Claude said of each prompt, and when it answered each interrupt.

    When is where in the journal; an interrupt without an answer came after everything.
    """
    heard: dict[str, tuple[Fate, int]] = {}
    asked = interrupts(folder)
    answered: dict[str, float] = dict.fromkeys(asked.values(), float("inf"))
    for line in read_lines(folder.journal):
        if b"command_lifecycle" not in line.data and b"control_response" not in line.data:
            continue
        for event in _wire.decode(line):
            if event.kind == "command_lifecycle" and event.data.command_uuid in uuids:
                fate = _STATES.get(event.data.state, Fate.QUEUED)
                heard[event.data.command_uuid] = (fate, line.offset)
            elif event.kind == "control_response":
                name = asked.get(str(event.data.response.get("request_id")))
                if name:
                    answered[name] = line.offset
    return heard, answered
