"""The readers of Claude's own protocol take whatever comes."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_mpm.wire import PlainLines, StreamJson, Transcript
from claude_mpm.wire.events import Assistant, Event, RateLimit, Result, Unknown, rate_limit
from claude_mpm.wire.framing import Line
from claude_mpm.wire.stream_json import SentAnswer, SentInterrupt, SentPrompt, decode_sent

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


def _said(text: str, uuid: str) -> bytes:
    content = [{"type": "text", "text": text}]
    message = {"id": "m1", "role": "assistant", "content": content}
    return json.dumps(
        {"parentUuid": None, "type": "assistant", "uuid": uuid, "message": message}
    ).encode()


ONE, TWO = _said("TODO: one", "u1"), _said("TODO: zwei ü", "u2")
RESULT = b'{"duration_api_ms":5,"type":"result","subtype":"success","uuid":"u9"}'
# A subagent's line whose input holds what looks like a record of its own.
CALL = {"type": "tool_use", "name": "Write", "input": {"type": "text", "text": "no record"}}
NESTED = json.dumps({"type": "assistant", "message": {"content": [CALL]}, "uuid": "u7"}).encode()


@pytest.mark.parametrize(
    ("line", "whole"),
    [
        (ONE[:60] + TWO, ["assistant"]),
        (ONE + TWO[:60], ["assistant"]),
        (ONE + TWO + ONE[:9], ["assistant", "assistant"]),
        (ONE[:30] + TWO + ONE[:30], ["assistant"]),
        (ONE[:60] + TWO + RESULT, ["assistant", "result"]),
        (b'{"message":' + RESULT, ["result"]),
        (b'{"n": 12' + RESULT, ["result"]),
        (b"\0" * 9000 + ONE, ["assistant"]),
        (ONE + b"\0" * 9000, ["assistant"]),
        (ONE[:50] + b"\0" * 50 + TWO, ["assistant"]),
        (b"\xff\xfe\x80" + ONE, ["assistant"]),
        (b"npm warn deprecated" + RESULT, ["result"]),
        (b"[1, 2]" + ONE, ["assistant"]),
        (NESTED[:-30], []),
        (NESTED[:-30] + RESULT, ["result"]),
        (ONE[:40], []),
    ],
)
def test_whole_records_beside_broken_bytes_are_read_and_the_rest_is_one_damaged_line(
    line: bytes, whole: list[str]
) -> None:
    for wire in (StreamJson(), Transcript()):
        events = wire.decode(Line(100, line, 101 + len(line)))
        assert [event.kind for event in events] == [*whole, "not-json"]
        assert all(100 <= event.offset < 100 + len(line) for event in events)
        assert {event.end for event in events} == {101 + len(line)}
        for event in events[:-1]:
            assert event.raw in (ONE, TWO, RESULT)


def test_records_on_one_line_have_places_of_their_own() -> None:
    line = RESULT + b" " + ONE + RESULT
    events = StreamJson().decode(Line(0, line, len(line)))
    assert [event.kind for event in events] == ["result", "assistant", "result"]
    assert [event.offset for event in events] == [0, len(RESULT) + 1, len(RESULT + ONE) + 1]


@pytest.mark.parametrize(
    "line",
    [b'{"a":' * 200_000, b'{"a":"' * 200_000, b'{"a":[' * 50_000 + ONE, b'{"a":1,' * 100_000],
    ids=["objects", "texts", "lists", "open"],
)
def test_what_is_broken_in_every_place_costs_a_bounded_time(line: bytes) -> None:
    begin = time.process_time()
    decode(line)
    assert time.process_time() - begin < 5


@pytest.mark.parametrize(
    ("info", "until"),
    [
        ({"status": "rejected", "resetsAt": 1793848080}, 1793848080),
        ({"status": "rejected", "resetsAt": 1793848080484}, 1793848080.484),  # in milliseconds
        ({"status": "rejected", "resetsAt": "soon"}, None),
        ({"status": "rejected", "resetsAt": -1}, None),
        ({"status": "rejected", "resetsAt": 1e16}, None),
        ({"status": "rejected"}, None),
        ({"status": "allowed_warning", "resetsAt": 1793848080}, None),
        ("no object", None),
    ],
)
def test_a_rate_limit_says_until_when_it_refuses(info: object, until: float | None) -> None:
    event = decode_one({"type": "rate_limit_event", "rate_limit_info": info})
    assert rate_limit(event) == RateLimit(until)


def test_what_reports_nothing_of_the_rate_limit_is_none() -> None:
    assert rate_limit(decode_one({"type": "result"})) is None
    assert rate_limit(decode_one({"type": "new_thing"})) is None


WIRE = StreamJson()


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        (WIRE.prompt("a text", "u1"), SentPrompt("u1", "a text", command=False)),
        (WIRE.prompt("/compact", "u2", command=True), SentPrompt("u2", "/compact", command=True)),
        (WIRE.control("r1", "interrupt"), SentInterrupt("r1")),
        (WIRE.answer("r2", {"behavior": "allow"}), SentAnswer("r2")),
        (WIRE.refuse("r3", "nobody answers"), SentAnswer("r3")),
        (WIRE.control("r4", "initialize"), None),
        (b'{"type": "user", "message": "no object", "uuid": 7}\n', SentPrompt("7", "", True)),
        (b'{"type": "user", "message": {"content": "of nobody"}}\n', None),
        (b'{"type": "control_response", "response": []}\n', None),
        (b'["no object"]\n', None),
        (b"no JSON\n", None),
        (b"\n", None),
    ],
)
def test_a_message_to_claude_is_read_as_it_was_written(message: bytes, sent: object) -> None:
    assert decode_sent(message) == sent
