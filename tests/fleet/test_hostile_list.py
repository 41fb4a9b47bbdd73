"""Whatever a place answers when it is asked for its sessions: bounded, parsed, never obeyed."""

from __future__ import annotations

import json
import os
import shlex
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from claude_mpm.environments.container_list import list_containers
from claude_mpm.environments.far_sessions import MOST, FarSession, read_list
from claude_mpm.environments.local import Local
from claude_mpm.errors import LaunchError
from claude_mpm.fleet.elsewhere import read_session
from claude_mpm.journal.layout import Meta, SessionFolder, Start
from claude_mpm.link.far import FarState
from claude_mpm.server.session_manager import SessionManager
from claude_mpm.server.tokens import anonymous
from claude_mpm.sessions.status import State
from claude_mpm.sessions.store import Store

if TYPE_CHECKING:
    from pathlib import Path

WORDS = st.sampled_from(
    (b"session /a/far/0/s", b"session ../x", b"pid 1 1", b"pid -1 x", b"exit 0", b"exit 1e9",
     b"dead", b"size 10", b"size 99999999999999999999", b"began 1", b"began 9" * 9, b"now 5",
     b"message {}", b"place cwd=/x", b" {}", b"more", b"done", b"", b"\x00\xff", b"closed")
)  # fmt: skip
ANSWERS = st.lists(WORDS | st.binary(max_size=30), max_size=40).map(b"\n".join)


@given(ANSWERS)
@example(b"\n".join(b"session /far/x/%d" % n for n in range(MOST + 5)) + b"\ndone")
def test_an_answer_is_a_list_of_what_can_be_meant_or_one_error(answer: bytes) -> None:
    try:
        listed = read_list("far", answer)
    except LaunchError as error:
        assert "cut short" in str(error)
        return
    assert len(listed.sessions) <= MOST
    for far in listed.sessions:
        assert far.key.startswith("/")
        assert "/" not in far.name
        assert far.age is None or 0 <= far.age <= 1e9
        assert 0 <= far.state.size < 1 << 62
        read_session("place", far, 1e9)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(("assistant", "user", "result", "system", "control_request", "x"))},
    optional={
        "message": JSON,
        "request": st.fixed_dictionaries(
            {"subtype": st.just("can_use_tool"), "input": JSON, "tool_name": JSON}
        ),
        "request_id": st.text(max_size=10),
        "total_cost_usd": st.just(1e308) | JSON,
        "subtype": st.sampled_from(("init", "session_state_changed", "success")),
        "state": st.sampled_from(("idle", "running")) | JSON,
    },
)


@given(st.lists(EVENTS.map(lambda event: json.dumps(event).encode()) | st.binary(), max_size=8))
def test_a_journal_is_read_whatever_is_in_it(lines: list[bytes]) -> None:
    end = b"\n".join(lines)
    state = FarState(size=len(end) + 1, place="cwd=/\x1b]0;x\x07\nhost")
    far = FarSession(
        name="s", key="k", state=state, end=end, messages=(end[:50], b'{"type":"user"}')
    )
    row = read_session("place", far, 1e9)
    assert row.state in {*State}
    assert len(msgspec.json.encode(row)) < 1 << 20


def test_no_secret_of_this_machine_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "correct-horse-9-battery-staple"
    monkeypatch.setenv("SHOP_PASSWORD", secret)
    message = {"type": "user", "message": {"role": "user", "content": f"log in with {secret}"}}
    far = FarSession(name="s", key="k", state=FarState(), messages=(json.dumps(message).encode(),))
    row = read_session("place", far, 1e9)
    assert "log in with" in row.prompt and secret not in row.prompt


@pytest.mark.parametrize("answer", [b"", b"session /a/b\npid 1 1\n", b"done then more\n"])
def test_an_answer_without_its_end_is_no_answer(answer: bytes) -> None:
    with pytest.raises(LaunchError, match="far: its list of sessions is cut short"):
        read_list("far", answer)


class Containers:
    """An engine that has a container of each of these folders."""

    def __init__(self, *folders: SessionFolder) -> None:
        self._folders = folders

    def run(self, *words: str) -> str:
        return "\n".join(f"{n:064x}" for n, _ in enumerate(self._folders))

    def quietly(self, *words: str) -> str:
        made = [
            {"id": f"{n:064x}", "runs": True, "created": "", "session": folder.path.name,
             "mounts": [{"Source": str(folder.exchange)}]}
            for n, folder in enumerate(self._folders)
        ]  # fmt: skip
        return "\n".join(map(json.dumps, made))


def damaged_and_whole(sessions: Path) -> tuple[SessionFolder, SessionFolder]:
    folders = SessionFolder(sessions / "damaged"), SessionFolder(sessions / "whole")
    for folder in folders:
        folder.path.parent.mkdir(parents=True, exist_ok=True)
        folder.create()
        folder.journal.write(b"{}\n")
    folders[0].journal.remove()
    os.mkfifo(folders[0].journal.path)
    return folders


def test_a_container_that_damages_its_folder_hides_no_other(tmp_path: Path) -> None:
    engine: Any = Containers(*damaged_and_whole(tmp_path / "state" / "sessions"))
    damaged, whole = list_containers(engine, 100).sessions
    assert (damaged.name, damaged.state.size, damaged.word) == ("damaged", 0, "running")
    assert (whole.name, whole.state.size, whole.end) == ("whole", 3, b"{}\n")


def test_a_folder_is_one_word_of_the_command_that_is_shown(tmp_path: Path) -> None:
    folder = SessionFolder(tmp_path / "a b; touch x" / "sessions" / "s")
    folder.path.parent.mkdir(parents=True)
    folder.create()
    engine: Any = Containers(folder)
    (found,) = list_containers(engine, 100).sessions
    words = shlex.split(found.refusal.partition(": ")[2])
    assert words == [
        f"CLAUDE_MPM_STATE_DIR={folder.path.parents[1]}", "claude-mpm", "attach", "s"
    ]  # fmt: skip


def test_a_session_that_damages_its_folder_hides_no_other_of_a_server(tmp_path: Path) -> None:
    store, token, work = Store(tmp_path / "state"), anonymous(), tmp_path / "work"
    work.mkdir()
    names = [f"{name}.{token.id}" for name in ("damaged", "whole")]
    with closing(store):
        for folder in map(store.folder, names):
            folder.create()
            folder.write_meta(
                Meta(
                    session_id=folder.path.name, claude_session_id="", orchestrator="local",
                    environment="local", wire="stream-json", cwd="/", created_at=1.0,
                    starts=[Start(at=1.0, offset=0)],
                )
            )  # fmt: skip
        store.folder(names[0]).journal.remove()
        os.mkfifo(store.folder(names[0]).journal.path)
        sessions = SessionManager(store, Local(), orchestrator="local", cwd=str(work))
        found = {each.name: each.state.dead for each in sessions.summaries(token, 0, 100)}
    assert found.keys() == {"damaged", "whole"}
    assert found["damaged"]
