"""The state of a prompt: the inbox and the journal know, whoever died."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from claude_mpm.journal.inbox import Inbox
from claude_mpm.journal.layout import SessionFolder
from claude_mpm.sessions.delivery import Fate, fates
from claude_mpm.wire.stream_json import StreamJson

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> SessionFolder:
    folder = SessionFolder(tmp_path / "session")
    folder.create()
    return folder


def put(folder: SessionFolder, *messages: bytes) -> None:
    for message in messages:
        Inbox(folder).put(message)


def prompt(uuid: str) -> bytes:
    return StreamJson().prompt(f"text of {uuid}", uuid)


def says(folder: SessionFolder, uuid: str, *states: str) -> None:
    with folder.journal.path.open("a") as journal:
        for state in states:
            event = {"type": "command_lifecycle", "command_uuid": uuid, "state": state}
            journal.write(json.dumps(event) + "\n")


def fate_of(folder: SessionFolder, *, start: int = 0, runs: bool = False) -> dict[str, Fate]:
    return {p.uuid: fate for p, fate in fates(folder, {"done"}, start=start, runs=runs)}


@pytest.mark.parametrize(
    ("states", "runs", "fate"),
    [
        ((), False, Fate.UNDELIVERED),
        ((), True, Fate.UNDELIVERED),
        (("queued",), True, Fate.QUEUED),
        (("queued",), False, Fate.CUT),
        (("queued", "started"), True, Fate.RUNNING),
        (("queued", "started"), False, Fate.CUT),
        (("queued", "started", "completed"), False, Fate.FINISHED),
        (("queued", "cancelled"), False, Fate.DROPPED),
        (("queued", "discarded"), True, Fate.DROPPED),
        (("refused",), False, Fate.DROPPED),
        (("queued", "a state that is not known yet"), True, Fate.QUEUED),
    ],
)
def test_the_last_word_of_claude_counts(
    folder: SessionFolder, states: tuple[str, ...], runs: bool, fate: Fate
) -> None:
    put(folder, prompt("one"), prompt("done"))
    says(folder, "one", *states)
    assert fate_of(folder, runs=runs) == {"one": fate, "done": Fate.FINISHED}


def test_what_an_earlier_claude_began_is_cut_though_another_runs_now(
    folder: SessionFolder,
) -> None:
    put(folder, prompt("one"), prompt("two"))
    says(folder, "one", "queued", "started")
    start = folder.journal.size()
    says(folder, "two", "queued", "started")
    found = fate_of(folder, start=start, runs=True)
    assert found == {"one": Fate.CUT, "two": Fate.RUNNING}


def test_a_turn_that_was_to_be_ended_is_not_gone_on_with(folder: SessionFolder) -> None:
    put(folder, prompt("one"))
    says(folder, "one", "queued", "started")
    put(folder, StreamJson().control("stop-it", "interrupt"))
    assert fate_of(folder) == {"one": Fate.DROPPED}


def test_an_interrupt_of_the_turn_before_does_not_count(folder: SessionFolder) -> None:
    put(folder, prompt("done"), prompt("one"), StreamJson().control("stop-it", "interrupt"))
    answer = {"type": "control_response", "response": {"request_id": "stop-it"}}
    folder.journal.path.write_text(json.dumps(answer) + "\n")
    says(folder, "one", "queued", "started")
    assert fate_of(folder)["one"] is Fate.CUT


def test_other_messages_are_no_prompts(folder: SessionFolder) -> None:
    put(folder, StreamJson().control("x", "initialize"), b"a plain line\n")
    assert fate_of(folder) == {}
