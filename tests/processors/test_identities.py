"""A record that is there twice counts once: also where another reader takes the copy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.journal.layout import Meta, SessionFolder
from claude_mpm.processors.identities import Identities
from journals import read_in_parts
from recordings import RECORDINGS

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.sessions.index import Index


def lines(*values: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def _said(uuid: str, *blocks: dict[str, Any]) -> dict[str, Any]:
    usage = {"input_tokens": 10, "output_tokens": 1}
    message = {"id": f"m-{uuid}", "role": "assistant", "content": blocks, "usage": usage}
    message["stop_reason"] = "end_turn"
    return {"type": "assistant", "uuid": uuid, "message": message}


def _call(uuid: str, name: str) -> dict[str, Any]:
    given = {"subagent_type": "qa", "description": name}
    return _said(uuid, {"type": "tool_use", "id": name, "name": "Agent", "input": given})


def _done(uuid: str, name: str) -> dict[str, Any]:
    block = {"type": "tool_result", "tool_use_id": name, "content": "All green."}
    return {"type": "user", "uuid": uuid, "message": {"role": "user", "content": [block]}}


def _result(uuid: str, cost: float) -> dict[str, Any]:
    usage = {"input_tokens": 10, "output_tokens": 1}
    told = {"subtype": "success", "result": "", "total_cost_usd": cost, "usage": usage}
    return {"type": "result", "uuid": uuid, **told}


def _prompt(uuid: str) -> dict[str, Any]:
    message = {"role": "user", "content": "Go"}
    return {"type": "user", "uuid": uuid, "promptSource": "typed", "message": message}


def _end(uuid: str) -> dict[str, Any]:
    return {"type": "system", "subtype": "turn_duration", "durationMs": 5, "uuid": uuid}


TEXT = {"type": "text", "text": "TODO: paint the door"}
STREAM = (_call("a1", "t1"), _done("u1", "t1"), _said("a2", TEXT), _result("r1", 0.5))
TRANSCRIPT = (_prompt("p1"), _call("a1", "t1"), _done("u1", "t1"), _said("a2", TEXT), _end("e1"))


def _found(index: Index) -> dict[str, Any]:
    position = index.position("s")
    return {
        "turns": [(turn.offset, turn.tokens, turn.cost_usd) for turn in index.turns("s")],
        "counted": (position.turns, position.cost_usd),
        "delegations": [(each.key, each.state) for each in index.delegations("s")],
        "tickets": [ticket.title for ticket in index.tickets("s")],
    }


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """Returns what is found in a journal that comes in parts, each with a reader of its own."""

    def read(wire: str, *parts: bytes) -> dict[str, Any]:
        number = sum(1 for _ in tmp_path.iterdir())
        folder = SessionFolder(tmp_path / f"state{number}" / "sessions" / "s")
        folder.create()
        folder.write_meta(
            Meta(
                session_id="s",
                claude_session_id="c",
                orchestrator="local",
                environment="local",
                wire=wire,
                cwd="/",
                created_at=0.0,
            )
        )
        store = read_in_parts(folder, *parts)
        try:
            return _found(store.index)
        finally:
            store.close()

    return read


@pytest.mark.parametrize(("wire", "first"), [("stream-json", STREAM), ("transcript", TRANSCRIPT)])
@pytest.mark.parametrize("how", ["at once", "by another reader", "twice more", "in a part"])
def test_copied_records_make_nothing_new(
    read: Any, wire: str, first: tuple[dict[str, Any], ...], how: str
) -> None:
    whole, once = lines(*first), read(wire, lines(*first))
    assert len(once["turns"]) == 1
    assert once["delegations"] == [("t1", "completed")]
    parts = {
        "at once": (whole + whole,),
        "by another reader": (whole, whole),
        "twice more": (whole, whole, whole),
        "in a part": (whole, lines(*first[:2]), lines(*first[2:])),
    }[how]
    assert read(wire, *parts) == once


@pytest.mark.parametrize(("wire", "first"), [("stream-json", STREAM), ("transcript", TRANSCRIPT)])
def test_what_comes_behind_a_copy_counts(
    read: Any, wire: str, first: tuple[dict[str, Any], ...]
) -> None:
    ends = [_result("r2", 0.75)] if wire == "stream-json" else [_end("e2")]
    begins = [] if wire == "stream-json" else [_prompt("p2")]
    found = read(wire, lines(*first), lines(*first), lines(*begins, _said("a9", TEXT), *ends))
    assert len(found["turns"]) == found["counted"][0] == 2
    assert found["turns"][1][1] == 11
    assert found["delegations"] == [("t1", "completed")]


def _has_identities(recording: Path) -> bool:
    """Return whether its results have any: older releases gave them none."""
    values = (json.loads(line) for line in recording.read_bytes().splitlines() if line[:1] == b"{")
    return all(value.get("uuid") for value in values if value.get("type") == "result")


IDENTIFIED = [
    recording for recording in RECORDINGS if "glued" in recording.stem or _has_identities(recording)
]


@pytest.mark.parametrize("recording", IDENTIFIED, ids=lambda path: path.stem)
def test_a_recording_that_is_there_twice_counts_once(read: Any, recording: Path) -> None:
    data = recording.read_bytes().rstrip(b"\n") + b"\n"
    wire = "transcript" if "interactive" in recording.parts else "stream-json"
    once = read(wire, data)
    assert read(wire, data, data) == once


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("claude_mpm.processors.identities._MAX", 3)
    identities = Identities(["a", "b"])
    assert not identities.add("a")
    assert [identities.add(each) for each in ("c", "d", "d", "a", None, None, "")] == [
        True, True, False, True, True, True, True,
    ]  # fmt: skip
