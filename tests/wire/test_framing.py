"""Bytes become lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from claude_mpm.wire.framing import Line, LineFramer


@given(
    st.lists(st.binary(max_size=20).map(lambda data: data.replace(b"\n", b"")), max_size=8),
    st.lists(st.integers(min_value=1, max_value=9), min_size=1, max_size=5),
    st.booleans(),
    st.integers(min_value=0, max_value=1000),
)
def test_lines_are_the_same_however_the_bytes_are_cut(
    datas: list[bytes], sizes: list[int], finished: bool, offset: int
) -> None:
    journal = b"\n".join(datas) + (b"\n" if finished else b"")
    framer = LineFramer(offset)
    found: list[Line] = []
    position = turn = 0
    while position < len(journal):
        size = sizes[turn % len(sizes)]
        found += framer.feed(journal[position : position + size])
        position, turn = position + size, turn + 1
    rest = framer.flush()
    found += [rest] if rest else []
    expected = journal.split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert [line.data for line in found] == expected
    for line in found:
        start = line.offset - offset
        assert journal[start : start + len(line.data)] == line.data
        assert line.end - offset in (start + len(line.data), start + len(line.data) + 1)
    assert framer.offset == offset + len(journal)


def test_a_line_of_64_mb_in_small_chunks_is_one_line() -> None:
    framer = LineFramer()
    chunk = b"x" * 65536
    for _ in range(1024):
        assert framer.feed(chunk) == []
    (line,) = framer.feed(b"y\nz")
    assert len(line.data) == 64 * 1024 * 1024 + 1
    assert framer.flush() == Line(line.end, b"z", line.end + 1)
