"""What a session does at the moment, as its folder tells."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.journal.inbox import Inbox
from claude_mpm.journal.layout import Meta, Start
from claude_mpm.sessions.delivery import Fate
from claude_mpm.sessions.status import (
    State,
    has_conversation,
    prompt_fates,
    read_status,
    undelivered,
)
from claude_mpm.sessions.store import Store
from claude_mpm.wire.stream_json import StreamJson

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from claude_mpm.sessions.status import Status

RUNNING = {"type": "system", "subtype": "session_state_changed", "state": "running"}
IDLE = {**RUNNING, "state": "idle"}
HELLO = {"type": "control_response", "response": {"subtype": "success", "request_id": "r0"}}
ASKED = {
    "type": "control_request",
    "request_id": "r1",
    "request": {"subtype": "can_use_tool", "tool_name": "Write", "input": {}},
}
WITHDRAWN = {"type": "control_cancel_request", "request_id": "r1"}
WOKEN = {"type": "result", "subtype": "success", "origin": {"kind": "task-notification"}}


def heard(uuid: str, state: str = "queued") -> dict[str, Any]:
    return {"type": "command_lifecycle", "command_uuid": uuid, "state": state}


def result(*uuids: str) -> dict[str, Any]:
    return {"type": "result", "subtype": "success", "user_message_uuids": list(uuids)}


class Scene:
    """A session that is written by hand, with a host that only holds the feed."""

    def __init__(self, state: Path) -> None:
        self.store = Store(state)
        self.folder = self.store.folder("scene")
        self.folder.create()
        self.folder.prepare_host()
        self.inbox = Inbox(self.folder)
        self.inbox.open_before_host()
        self.starts = [Start(at=0, offset=0)]
        self._write_meta()

    def restart(self) -> None:
        self.starts.append(Start(at=1, offset=self.folder.journal.size(), resumed=True))
        self._write_meta()

    def _write_meta(self) -> None:
        self.folder.write_meta(
            Meta(
                session_id="scene",
                claude_session_id="c",
                orchestrator="local",
                environment="local",
                wire="stream-json",
                cwd="/",
                created_at=0,
                starts=self.starts,
            )
        )

    def write(self, *events: dict[str, Any]) -> int:
        """Append to the journal and return where that began."""
        begin = self.folder.journal.size()
        with self.folder.journal.path.open("a") as journal:
            journal.writelines(json.dumps(event) + "\n" for event in events)
        return begin

    def status(self) -> Status:
        self.store.catch_up(self.folder)
        return read_status(self.folder, self.store.index)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "state")
    yield scene
    scene.inbox.close()
    scene.store.close()


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([], State.STARTING),
        ([HELLO], State.IDLE),
        ([HELLO, RUNNING, heard("a")], State.WORKING),
        ([HELLO, heard("a", "started")], State.WORKING),
        ([HELLO, RUNNING, heard("a"), result("a")], State.WORKING),
        ([HELLO, RUNNING, heard("a"), result("a"), heard("a", "completed"), IDLE], State.IDLE),
        ([HELLO, heard("a"), result("a")], State.IDLE),
        ([HELLO, heard("a"), heard("b"), result("a")], State.WORKING),
        ([HELLO, heard("a"), heard("b"), result("a", "b")], State.IDLE),
        ([HELLO, heard("a"), heard("a", "cancelled")], State.IDLE),
        ([HELLO, RUNNING, heard("a"), ASKED], State.WAITING),
        ([HELLO, RUNNING, heard("a"), ASKED, WITHDRAWN], State.WORKING),
        ([HELLO, RUNNING, heard("a"), result("a"), WOKEN], State.WORKING),
        ([HELLO, RUNNING, heard("a"), result("a"), WOKEN, IDLE], State.IDLE),
    ],
)
def test_the_state_is_what_the_end_of_the_journal_says(
    scene: Scene, events: list[dict[str, Any]], state: State
) -> None:
    scene.write(*events)
    assert scene.status().state is state
    assert state.runs


def test_a_question_that_has_its_answer_is_waited_for_no_more(scene: Scene) -> None:
    scene.write(HELLO, RUNNING, heard("a"), ASKED)
    scene.inbox.put(StreamJson().answer("r1", {"behavior": "deny"}))
    assert scene.status().state is State.WORKING


def test_a_host_that_said_how_it_ended_has_ended_and_one_that_did_not_is_lost(scene: Scene) -> None:
    scene.write(HELLO, RUNNING, heard("a"))
    scene.inbox.close()
    assert scene.status().state is State.LOST
    scene.folder.exit_file.write(b"0\n")
    status = scene.status()
    assert status.state is State.ENDED
    assert not status.state.runs
    assert status.uuid == "a", "its turn is the last one, though it has no result"


def test_a_turn_begins_where_all_that_was_before_it_ended(scene: Scene) -> None:
    scene.write(HELLO)
    assert not scene.status().begun
    first = 0
    scene.write(RUNNING, heard("a"))
    assert (scene.status().uuid, scene.status().begin) == ("a", first)
    scene.write(result("a"), WOKEN)
    second = scene.write(IDLE)
    assert (scene.status().uuid, scene.status().begin) == ("a", first)
    scene.write(RUNNING, heard("b"))
    assert (scene.status().uuid, scene.status().begin) == ("b", second)
    scene.write(result("b"), IDLE)
    assert (scene.status().uuid, scene.status().begin) == ("b", second)


def test_what_an_earlier_start_left_unfinished_does_not_run_any_more(scene: Scene) -> None:
    scene.write(HELLO, RUNNING, heard("a"))
    scene.restart()
    assert scene.status().state is State.STARTING
    begin = scene.write(HELLO)
    assert scene.status().state is State.IDLE
    scene.write(RUNNING, heard("b"))
    assert (scene.status().uuid, scene.status().begin) == ("b", begin)


def test_a_prompt_is_undelivered_until_claude_is_heard_of_it(scene: Scene) -> None:
    for uuid in ("a", "b", "c"):
        scene.inbox.put(StreamJson().prompt(f"prompt {uuid}", uuid))
    scene.inbox.put(StreamJson().control("r2", "interrupt"))
    scene.write(HELLO, heard("a"), result("b"))
    scene.status()
    (left,) = undelivered(scene.folder, scene.store.index)
    assert (left.name, left.uuid, left.text) == ("000003", "c", "prompt c")


def test_what_the_index_knows_of_prompts_is_not_read_again(scene: Scene) -> None:
    for uuid in ("cut", "run", "never"):
        scene.inbox.put(StreamJson().prompt(f"prompt {uuid}", uuid))
    scene.write(HELLO, heard("cut"), heard("run"), heard("run", "cancelled"), result("other"))
    scene.status()
    index = scene.store.index
    expected = {"cut": Fate.QUEUED, "run": Fate.DROPPED, "never": Fate.UNDELIVERED}
    assert {p.uuid: fate for p, fate in prompt_fates(scene.folder, index)} == expected
    with scene.folder.journal.path.open("r+b") as journal:
        journal.write(b"\n" * index.position("scene").cursor)
    assert {p.uuid: fate for p, fate in prompt_fates(scene.folder, index)} == expected
    scene.write(heard("cut", "started"), heard("never"))
    expected |= {"cut": Fate.RUNNING, "never": Fate.QUEUED}
    assert {p.uuid: fate for p, fate in prompt_fates(scene.folder, index)} == expected


def test_an_interrupt_that_the_index_knows_counts_for_the_prompts_before_it(scene: Scene) -> None:
    scene.inbox.put(StreamJson().prompt("prompt", "stopped"))
    scene.inbox.put(StreamJson().control("r2", "interrupt"))
    scene.inbox.put(StreamJson().prompt("prompt", "cut"))
    answer = {"type": "control_response", "response": {"subtype": "success", "request_id": "r2"}}
    scene.write(heard("stopped"), answer, heard("cut"), result("other"))
    scene.status()
    scene.restart()
    with scene.folder.journal.path.open("r+b") as journal:
        journal.write(b"\n" * scene.store.index.position("scene").cursor)
    fates = {p.uuid: fate for p, fate in prompt_fates(scene.folder, scene.store.index)}
    assert fates == {"stopped": Fate.DROPPED, "cut": Fate.CUT}


def test_claude_has_a_conversation_once_it_has_begun_a_turn(scene: Scene) -> None:
    scene.write(HELLO, {"type": "result", "subtype": "error", "is_error": True})
    scene.status()
    assert not has_conversation(scene.folder, scene.store.index)
    scene.write({"type": "system", "subtype": "init"})
    assert has_conversation(scene.folder, scene.store.index)
