"""One fold over the events: whoever follows a session and whoever replays it come to the same."""

from __future__ import annotations

import json
import queue
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import claude_mpm
from claude_mpm import MPMOrchestrator
from claude_mpm.journal.inbox import Inbox
from claude_mpm.journal.layout import Meta, Start
from claude_mpm.sessions.reader import Session
from claude_mpm.sessions.state import SessionState
from claude_mpm.sessions.status import read_state, read_status
from claude_mpm.sessions.store import Store
from claude_mpm.wire import WIRES, StreamJson, Transcript
from claude_mpm.wire.framing import LineFramer
from recordings import RECORDINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 60.0
HOST = Path(claude_mpm.__file__).parent / "journal" / "host.sh"
FACTS = (
    "turn", "at_work", "claude_state", "waits", "tools", "background", "stopped", "commands",
    "retries",
)  # fmt: skip


def lifecycle(uuid: str, state: str) -> dict[str, Any]:
    return {"type": "command_lifecycle", "command_uuid": uuid, "state": state}


def told(state: str) -> dict[str, Any]:
    return {"type": "system", "subtype": "session_state_changed", "state": state}


def asks(name: str, tool_use_id: str = "") -> dict[str, Any]:
    request = {"subtype": "can_use_tool", "tool_name": "Write", "tool_use_id": tool_use_id}
    return {"type": "control_request", "request_id": name, "request": request}


def result(*uuids: str, **more: Any) -> dict[str, Any]:
    return {"type": "result", "subtype": "success", "user_message_uuids": list(uuids), **more}


def blocks(kind: str, *blocks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": kind, "message": {"content": list(blocks)}, **more}


def calls(name: str) -> dict[str, Any]:
    return blocks("assistant", {"type": "tool_use", "id": name, "name": "Bash"})


def returns(name: str) -> dict[str, Any]:
    return blocks("user", {"type": "tool_result", "tool_use_id": name})


SAYS = blocks("assistant", {"type": "text", "text": "an answer"})
RETRY = {"type": "system", "subtype": "api_retry", "error": "overloaded"}
AGENT = {"task_id": "t1", "task_type": "local_agent"}
TASKS = {"type": "system", "subtype": "background_tasks_changed"}
# What Claude Code writes, in the order of a release that tells its state, and of one that does not.
TELLING = [
    lifecycle("a", "queued"), told("running"), lifecycle("a", "started"), calls("c1"),
    asks("r1", "c1"), told("requires_action"), told("running"), RETRY, RETRY, returns("c1"),
    {**TASKS, "tasks": [AGENT, {"task_id": "t2", "task_type": "local_bash"}]}, SAYS,
    result("a", uuid="u1"), lifecycle("a", "completed"), asks("r2"),
    {"type": "control_cancel_request", "request_id": "r2"}, {**TASKS, "tasks": []},
    result(origin={"kind": "task-notification"}, uuid="u2"), told("idle"),
    lifecycle("b", "queued"), told("running"), asks("r3"), lifecycle("b", "a new word"), SAYS,
    result("b", uuid="u3"), result("b", uuid="u3"), told("idle"),
]  # fmt: skip
SILENT = [
    {"type": "system", "subtype": "init"}, calls("c1"), asks("r1", "c1"), returns("c1"), SAYS,
    result(), SAYS, calls("c2"), asks("r2", "c2"), result(), {"type": "system", "subtype": "init"},
    {**TASKS, "tasks": [AGENT]}, SAYS, result(), {**TASKS, "tasks": []}, SAYS, result(),
]  # fmt: skip
WRITTEN = {"telling": TELLING, "silent": SILENT}


class Followed(MPMOrchestrator):
    """Reads in a thread of its own, by its defaults."""

    def _on_end(self) -> None:
        super()._on_end()


def meta(wire: str) -> Meta:
    return Meta(
        session_id="scene", claude_session_id="c", orchestrator="local", environment="local",
        wire=wire, cwd="/", created_at=0, starts=[Start(at=0, offset=0)],
    )  # fmt: skip


class Scene:
    """A session that is written by hand, and followed meanwhile."""

    def __init__(self, wire: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store = Store()
        self.folder = self.store.folder("scene")
        self.folder.create()
        self.folder.prepare_host()
        self.inbox = Inbox(self.folder)
        self.inbox.open_before_host()
        self.folder.write_meta(meta(wire))
        self._read: queue.SimpleQueue[int] = queue.SimpleQueue()
        read = Session.read

        def note(session: Session, timeout: float) -> Any:
            self._read.put(session._cursor.offset)  # all before it was observed
            return read(session, timeout)

        monkeypatch.setattr(Session, "read", note)
        self.claude = Followed(session_id="scene", resume=True)
        self.claude.start_or_raise()

    def write(self, data: bytes) -> None:
        with self.folder.journal.path.open("ab") as journal:
            journal.write(data)

    def wait(self) -> None:
        """Wait until all that was written was read and observed."""
        while self._read.get(timeout=SECONDS) < self.folder.journal.size():
            pass

    def facts(self) -> dict[str, Any]:
        return facts(read_state(self.folder, self.store.index))

    def close(self) -> None:
        self.claude.detach()
        self.inbox.close()
        self.store.close()


def facts(state: SessionState) -> dict[str, Any]:
    found = {name: getattr(state, name) for name in FACTS}
    return {**found, "asked": [*state.asked], "tools": dict(state.tools)}


def agree(scene: Scene, lines: list[bytes]) -> None:
    before = scene.facts()
    for line in lines:
        scene.write(line[: len(line) // 2])
        assert scene.facts() == before, line
        scene.write(line[len(line) // 2 :])
        scene.wait()
        before = scene.facts()
        assert facts(scene.claude._live.state) == before, line
        status = read_status(scene.folder, scene.store.index)
        open_ = [question.request_id for question in scene.claude.questions()]
        assert open_ == [each.request_id for each in status.questions], line


@pytest.fixture
def scenes(stand_in: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Scene]]:
    made: list[Scene] = []
    yield made
    for scene in made:
        scene.close()


@pytest.mark.parametrize(
    ("lines", "background"),
    [
        ([{"type": "system", "subtype": "task_started", "tool_use_id": "c1"}], []),
        ([{**returns("c1"), "message": {"content": [
            {"type": "tool_result", "tool_use_id": "c1", "content": [
                {"type": "text", "text": "Async agent launched successfully."}]}]}}], ["c1"]),
    ],
)  # fmt: skip
def test_an_older_build_says_by_the_tool_s_result_that_a_subagent_goes_on(
    lines: list[dict[str, Any]], background: list[str]
) -> None:
    state, wire, framer = SessionState(), StreamJson(), LineFramer()
    for line in framer.feed(b"".join(json.dumps(line).encode() + b"\n" for line in lines)):
        for event in wire.decode(line):
            state.apply(event)
    assert [*state.backgrounded] == background


@pytest.mark.parametrize("case", WRITTEN)
def test_at_every_cut_of_a_session_a_follower_and_a_replay_agree(
    case: str, scenes: list[Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(StreamJson.name, monkeypatch)
    scenes.append(scene)
    agree(scene, [json.dumps(line).encode() + b"\n" for line in WRITTEN[case]])
    assert scene.facts()["at_work"] is False


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: str(path.stem))
def test_at_every_cut_of_a_recording_a_follower_and_a_replay_agree(
    recording: Path, scenes: list[Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Transcript.name if "interactive" in recording.parts else StreamJson.name
    scene = Scene(wire, monkeypatch)
    scenes.append(scene)
    agree(scene, [line + b"\n" for line in recording.read_bytes().split(b"\n") if line.strip()])


def fold(lines: list[dict[str, Any]], **options: Any) -> SessionState:
    state = SessionState(**options)
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    for line in LineFramer().feed(data):
        for event in WIRES[StreamJson.name].decode(line):
            state.apply(event)
    return state


def test_a_permission_is_open_until_its_tool_has_a_result() -> None:
    assert [*fold(TELLING[:5]).asked] == ["r1"]
    state = fold(TELLING[:10])
    assert not state.asked
    assert [*state.closed] == ["r1"]
    assert not state.tools


def test_the_index_keeps_of_prompts_and_requests_what_a_replay_says(tmp_path: Path) -> None:
    lines = [*TELLING, *({"type": "control_response", "response": {"request_id": "ours"}},) * 2]
    store = Store(tmp_path)
    folder = store.folder("scene")
    folder.create()
    folder.write_meta(meta(StreamJson.name))
    folder.journal.path.write_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    store.catch_up(folder)
    said = fold(lines).said
    assert {*said} == {"a", "b", "ours"}
    assert store.index.heard("scene", said) == said
    store.close()


def test_a_fresh_claude_knows_nothing_of_what_the_last_one_did() -> None:
    state = SessionState()
    lines = [lifecycle("a", "started"), told("running"), calls("c1"), asks("r1"), SAYS]
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    events = [
        event for line in LineFramer().feed(data) for event in WIRES[StreamJson.name].decode(line)
    ]
    for event in events[:-1]:
        state.apply(event)
    state.expect_start(events[-1].offset)
    assert state.tools
    state.apply(events[-1])
    assert not (state.tools or state.asked or state.claude_state or state.turn)
    assert state.delivery("a") == "started"
    assert [*state.closed] == ["r1"]


def test_what_a_session_that_goes_on_for_ever_remembers_is_bounded() -> None:
    lines = [
        each
        for number in range(50)
        for each in (
            lifecycle(f"p{number}", "started"), asks(f"r{number}"), result(f"p{number}"),
            lifecycle(f"p{number}", "completed"),
        )
    ]  # fmt: skip
    state = fold([lifecycle("first", "queued"), *lines], most=10)
    assert len(state.said) == len(state.closed) == 10
    assert state.delivery("first") == "queued"
    assert state.turn == ("first", 0)
    assert len(fold(lines).said) == 50


def test_the_host_reads_the_same_state_out_of_a_journal(tmp_path: Path) -> None:
    """It has a shell, and no fold; it asks whether Claude waits for an answer."""
    function = re.search(r"^is_asked\(\) \{.*?^\}", HOST.read_text(), re.S | re.M)
    assert function is not None
    journal = tmp_path / "out.jsonl"
    script = f"exchange={tmp_path}\n{function[0]}\nis_asked"
    for cut in range(len(TELLING) + 1):
        lines = [json.dumps(line, separators=(",", ":")) for line in TELLING[:cut]]
        journal.write_text("".join(f"{line}\n" for line in lines))
        asked = subprocess.run(["sh", "-c", script], check=False).returncode == 0
        assert asked == (fold(TELLING[:cut]).claude_state == "requires_action")
