"""Real output of Claude Code: every line is read, and the counts are those of the files.

The recordings are read from the folder `RECORDINGS`, else from `../shared/data` beside the project,
else from the samples in `tests/data`.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.journal.cursor import read_lines
from claude_mpm.journal.exchange import ExchangeFile
from claude_mpm.processors.delegations import DelegationProcessor
from claude_mpm.processors.tickets.processor import TicketProcessor
from claude_mpm.wire import Transcript
from recordings import RECORDINGS, TRUTH

if TYPE_CHECKING:
    from claude_mpm.wire.events import Event


def events_of(path: Path) -> list[Event]:
    return [
        event
        for line in read_lines(ExchangeFile(path.parent, path.name))
        for event in Transcript().decode(line)
    ]


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name)
def test_every_line_is_read_and_no_type_is_lost(path: Path) -> None:
    expected: Counter[str] = Counter()
    for line in path.read_bytes().split(b"\n"):
        text = line.decode()
        while text.strip():
            value, end = json.JSONDecoder().raw_decode(text.lstrip())
            expected[value["type"]] += 1
            text = text.lstrip()[end:]
    found = Counter(event.type.split("/")[0] for event in events_of(path))
    assert found == expected


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name)
def test_what_this_release_knows_is_never_of_an_unknown_kind(path: Path) -> None:
    known = {"assistant", "user", "system", "result", "stream_event", "command_lifecycle"}
    lost = [e for e in events_of(path) if e.kind == "unknown" and e.type.split("/")[0] in known]
    assert lost == []


@pytest.mark.parametrize("name", sorted(TRUTH), ids=lambda name: Path(name).name)
def test_counts_agree_with_what_was_counted_by_hand(name: str) -> None:
    truth: dict[str, Any] = TRUTH[name]
    events = events_of(next(path for path in RECORDINGS if path.as_posix().endswith(name)))
    assert Counter(event.type.split("/")[0] for event in events) == truth["event_types"]
    subtypes = Counter(event.type for event in events if "/" in event.type)
    known = {name: n for name, n in truth["event_subtypes"].items() if "hook_progress" not in name}
    assert subtypes == known
    blocks = Counter(
        block.type
        for event in events
        if event.kind == "assistant"
        for block in event.data.message.blocks
    )
    assert blocks == truth["assistant_blocks"]


@pytest.mark.parametrize("name", sorted(TRUTH), ids=lambda name: Path(name).name)
def test_delegations_and_tickets_are_those_that_a_person_found(name: str) -> None:
    truth: dict[str, Any] = TRUTH[name]
    events = events_of(next(path for path in RECORDINGS if path.as_posix().endswith(name)))
    delegate, ticket = DelegationProcessor("session"), TicketProcessor("session")
    made = {d.data.key: d.data for event in events for d in delegate(event)}
    outcomes = {
        "completed": ("completed",),
        "rejected_input": ("rejected",),
        "launched_async": ("running",),
        "no_result": ("running",),
    }
    assert sorted(made) == sorted(d["id"] for d in truth["delegations"])
    for expected in truth["delegations"]:
        assert made[expected["id"]].state in outcomes[expected["outcome"]]
        assert made[expected["id"]].description == expected["description"]
    titles = [found.data.title for event in events for found in ticket(event)]
    assert titles == [marker["title"] for marker in truth["markers"]]
