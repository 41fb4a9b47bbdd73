"""The messages of remote sessions: what is sent is what arrives, and nothing else is taken."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_mpm.link.far import FarState
from claude_mpm.wire.framing import LineBuffer, LineTooLong
from claude_mpm.wire.remote import (
    ErrorMessage,
    FolderState,
    InitMessage,
    InputMessage,
    MalformedMessage,
    OutputMessage,
    RemoteMessage,
    StartParameters,
    TerminateMessage,
    decode,
    decode_start,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
MESSAGES: st.SearchStrategy[RemoteMessage] = st.one_of(
    st.builds(OutputMessage, text=TEXT, journal=st.binary(), offset=st.integers(0, 2**53)),
    st.builds(ErrorMessage, error=TEXT, again=st.booleans()),
    st.builds(InputMessage, text=TEXT, name=TEXT, data=st.binary(), offset=st.integers(0, 2**53)),
    st.builds(
        InitMessage, token=TEXT, framework=st.none() | TEXT, follow=st.none() | st.integers(0, 9)
    ),
    st.builds(TerminateMessage, reason=TEXT),
)


@given(MESSAGES)
def test_a_message_is_one_line_of_ascii_and_arrives_as_it_was(message: RemoteMessage) -> None:
    line = encode(message)
    assert line.isascii()
    assert line.index(b"\n") == len(line) - 1
    assert decode(line[:-1]) == message
    assert json.loads(line)["type"] in ("init", "input", "output", "error", "terminate")


@given(st.lists(st.binary().filter(lambda line: b"\n" not in line)), st.integers(1, 7))
def test_lines_may_come_in_any_pieces(lines: Sequence[bytes], size: int) -> None:
    data = b"".join(line + b"\n" for line in lines)
    cutter, found = LineBuffer(1 << 20), []
    for start in range(0, len(data), size):
        cutter.feed(data[start : start + size])
        while (line := cutter.next()) is not None:
            found.append(line)
    assert found == list(lines)


@pytest.mark.parametrize("piece", [b"x" * 11, b"x" * 11 + b"\n", b"x" * 10_000])
def test_a_line_that_is_too_long_is_not_kept(piece: bytes) -> None:
    cutter = LineBuffer(10)
    cutter.feed(b"x" * 10 + b"\n" + piece)
    assert cutter.next() == b"x" * 10
    with pytest.raises(LineTooLong, match="10 bytes"):
        cutter.next()
    assert cutter.next() is None


@pytest.mark.parametrize("line", [b"", b"x", b"[]", b"null", b'{"type":"output"', b"\xff", b"{}"])
def test_what_is_no_message_is_malformed(line: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode(line)
    with pytest.raises(MalformedMessage):
        decode_start(line)


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"SECRET"}',
        b'{"type":"init","token":["SECRET"]}',
        b'{"type":"init","SECRET":[}',
        b'{"type":"input","do":"SECRET"}',
        b'{"type":"input","data":"SECRET!"}',
        b"SECRET",
    ],
)
def test_a_complaint_does_not_quote_what_was_sent(line: bytes) -> None:
    with pytest.raises(MalformedMessage) as complaint:
        decode(line)
    assert "SECRET" not in str(complaint.value)


def test_fields_that_nobody_knows_are_left_alone() -> None:
    assert decode(b'{"type":"input","text":"hello","later":1}') == InputMessage(text="hello")


def test_a_start_arrives_as_it_was() -> None:
    start = StartParameters(
        folder="/a", arguments=("ü",), environ={"A": "→\n"}, framework=b"\xff\x00"
    )
    assert decode_start(msgspec.json.encode(start)) == start


def test_a_state_has_the_fields_of_the_links() -> None:
    # A server needs no signs of life to be counted: it closes a connection that is silent.
    assert (*FolderState.__struct_fields__, "heard") == FarState.__struct_fields__
