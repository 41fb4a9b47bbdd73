"""The readers of Claude's own protocol take whatever comes."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_mpm.wire import PlainLines, StreamJson, Transcript
from claude_mpm.wire.events import Assistant, Event, Result, Unknown
from claude_mpm.wire.framing import Line

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
NAMES = ["assistant", "user", "result", "system", "stream_event", "control_request", "new_thing"]
FIELDS = ["message", "subtype", "is_error", "usage", "event", "request", "content", "tasks"]


def decode(data: bytes) -> list[Event]:
    return StreamJson().decode(Line(7, data, 7 + len(data) + 1))


def decode_one(value: Any) -> Event:
    (event,) = decode(json.dumps(value).encode())
    return event


def test_the_type_need_not_be_the_first_key() -> None:
    event = decode_one({"duration_api_ms": 1, "is_error": False, "type": "result"})
    assert (event.kind, event.offset) == ("result", 7)
    assert isinstance(event.data, Result)


def test_an_unknown_type_passes_through_whole() -> None:
    value = {"type": "rate_limit_event", "resets": 5}
    event = decode_one(value)
    assert (event.kind, event.type) == ("unknown", "rate_limit_event")
    assert event.data == Unknown(value)
    assert json.loads(event.raw) == value


def test_a_known_type_of_an_unexpected_shape_is_an_unknown_event() -> None:
    assert decode_one({"type": "assistant", "message": 5}).kind == "unknown"


def test_an_unknown_block_does_not_hide_the_text_beside_it() -> None:
    blocks = [{"type": "hologram", "data": 1}, {"type": "text", "text": "hello"}]
    event = decode_one({"type": "assistant", "message": {"content": blocks}})
    assert isinstance(event.data, Assistant)
    assert [block.text for block in event.data.message.blocks] == [None, "hello"]


@pytest.mark.parametrize(
    "line", [b"not json", b"[1, 2]", b'"text"', b"\xff\xfe", b'{"a": ', b"{}5"]
)
def test_a_line_that_is_no_json_object_is_kept(line: bytes) -> None:
    (event,) = decode(line)
    assert event.kind == "not-json"
    assert event.raw == line


def test_a_blank_line_is_nothing() -> None:
    assert decode(b"") == decode(b"  \r") == []


def test_two_objects_on_one_line_are_two_events() -> None:
    events = decode(b'{"type":"user","message":{"content":"a"}} {"type":"summary"}')
    assert [event.type for event in events] == ["user", "summary"]
    assert events[0].data.message.blocks[0].text == "a"


@given(st.dictionaries(st.sampled_from([*FIELDS, "type"]), JSON | st.sampled_from(NAMES)))
def test_no_json_object_is_fatal(value: dict[str, Any]) -> None:
    (event,) = decode(json.dumps(value).encode())
    assert event.kind != "not-json"


@given(st.binary(max_size=200).map(lambda data: data.replace(b"\n", b"")))
def test_no_bytes_are_fatal(data: bytes) -> None:
    for wire in (StreamJson(), PlainLines(), Transcript()):
        for event in wire.decode(Line(0, data, len(data))):
            assert event.raw == data


@given(st.text())
def test_a_prompt_is_one_line_that_says_the_same(text: str) -> None:
    message = StreamJson().prompt(text, "some-uuid")
    assert message.endswith(b"\n")
    assert message.count(b"\n") == 1
    assert json.loads(message)["message"]["content"] == text


def test_deep_nesting_is_not_fatal() -> None:
    counts = Counter(event.kind for event in decode(b'{"type":' + b"[" * 100_000 + b"}"))
    assert counts == {"not-json": 1}
