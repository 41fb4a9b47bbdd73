"""A journal that is read in two parts holds what it holds in one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_mpm.journal import cursor
from claude_mpm.journal.cursor import newest_lines, read_lines
from claude_mpm.journal.exchange import ExchangeFile
from claude_mpm.journal.layout import Meta, SessionFolder
from journals import read_in_parts

if TYPE_CHECKING:
    from pathlib import Path


def said(second: int, **block: Any) -> dict[str, Any]:
    return {
        "type": "assistant",
        "timestamp": f"2027-01-15T08:00:{second:02}.000Z",
        "message": {"model": "m", "content": [block]},
    }


def ended(turn: int) -> dict[str, Any]:
    usage = {"m": {"inputTokens": turn * 10}}
    return {"type": "result", "total_cost_usd": turn / 4, "modelUsage": usage}


AGENT = {"type": "tool_use", "id": "t1", "name": "Agent", "input": {"description": "look"}}
DONE = {"type": "tool_result", "tool_use_id": "t1", "content": "found"}
MESSAGES: tuple[dict[str, Any], ...] = (
    {"type": "system", "subtype": "init"},
    said(1, type="text", text="TODO: mend it"),
    ended(1),
    said(2, **AGENT),
    {"type": "user", "message": {"content": [DONE]}},
    {"type": "user", "message": {"content": "x" * 200_000}},
    ended(2),
    ended(3),
    said(3, type="text", text="BUG: it is not mended"),
    {"type": "command_lifecycle", "command_uuid": "u", "state": "completed"},
    ended(4),
)
LINES = [json.dumps(message).encode() + b"\n" for message in MESSAGES]


def found_in(state: Path, *parts: bytes) -> list[Any]:
    """Return what the index holds once each part was read by a reader of its own."""
    folder = SessionFolder(state / "sessions" / "s")
    folder.create()
    folder.write_meta(
        Meta(session_id="s", claude_session_id="c", orchestrator="local", environment="local",
             wire="stream-json", cwd="/", created_at=1.0)
    )  # fmt: skip
    store = read_in_parts(folder, *parts)
    index = store.index
    found = [index.tickets(), index.delegations(), index.turns(), index.position("s")]
    store.close()
    return found


@pytest.mark.parametrize("cut", range(1, len(LINES)))
def test_where_a_journal_is_taken_up_makes_no_difference(tmp_path: Path, cut: int) -> None:
    parts = b"".join(LINES[:cut]), b"".join(LINES[cut:])
    assert found_in(tmp_path / "two", *parts) == found_in(tmp_path / "one", b"".join(parts))


@given(
    lines=st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b""))), at=st.data()
)
def test_lines_are_read_backwards_as_forwards(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], at: st.DataObject
) -> None:
    journal = ExchangeFile(tmp_path_factory.getbasetemp(), "backwards.jsonl")
    journal.write(b"".join(line + b"\n" for line in lines))
    there = list(read_lines(journal))
    first = at.draw(st.integers(0, len(there)))
    begin = there[first].offset if first < len(there) else journal.size()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cursor, "_BLOCK", at.draw(st.integers(1, 9)))
        backwards = list(newest_lines(journal, begin, journal.size()))
    assert backwards[::-1] == there[first:]
