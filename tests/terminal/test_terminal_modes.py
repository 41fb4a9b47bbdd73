"""A terminal is brought into a program's modes, and out of them, wherever the bytes are cut."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from claude_mpm.terminal.modes import Modes, without_sequences

# What the real Claude Code sends when it takes a terminal, and when it gives it back.
TAKES = (
    b"\x1b[?1049h\x1b[2J\x1b[?1000h\x1b[?1002h\x1b[?1003h\x1b[?1006h\x1b[?2004h\x1b[?1004h"
    b"\x1b[>1u\x1b[>4;2m\x1b]0;\xe2\x9c\xb3 Claude Code\x07\x1b[?25l\x1b[31mtext"
)
GIVES_BACK = (
    b"\x1b[?1006l\x1b[?1003l\x1b[?1002l\x1b[?1000l\x1b[?25h\x1b[?1004l\x1b[<u\x1b[?1049l\x1b[>4m"
    b"\x1b[?2004l\x1b]0;\x07"
)


def _after(*chunks: bytes) -> Modes:
    modes = Modes()
    for chunk in chunks:
        modes.feed(chunk)
    return modes


def test_a_late_screen_gets_every_mode_and_the_other_screen_first() -> None:
    entering = _after(TAKES).enable_sequences()
    assert entering.startswith(b"\x1b[?1049h")
    for switch in (b"\x1b[?1003h", b"\x1b[?2004h", b"\x1b[>1u", b"\x1b[>4;2m", b"\x1b[?25l"):
        assert switch in entering
    assert b"\x1b]0;\xe2\x9c\xb3 Claude Code\x07" in entering
    assert b"text" not in entering


def test_what_was_left_in_a_mode_is_taken_out_of_it() -> None:
    leaving = _after(TAKES).reset_sequences()
    for switch in (b"\x1b[?1000l", b"\x1b[?2004l", b"\x1b[<1u", b"\x1b[>4m", b"\x1b[?25h"):
        assert switch in leaving
    assert leaving.endswith(b"\x1b[?1049l")  # the mouse first, while its screen is there
    assert _after(TAKES, leaving).enable_sequences() == b""


def test_a_terminal_that_was_given_back_is_not_switched_again() -> None:
    # Leaving the other screen twice would move the cursor to where it once was.
    assert b"1049" not in _after(TAKES, GIVES_BACK).reset_sequences()


def test_a_reset_of_the_terminal_forgets_everything() -> None:
    assert _after(TAKES, b"\x1bc").enable_sequences() == b""


@given(cuts=st.lists(st.integers(0, len(TAKES)), max_size=12))
def test_a_switch_may_be_cut_anywhere(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(TAKES)]
    chunks = [TAKES[a:b] for a, b in itertools.pairwise(places)]
    assert _after(*chunks).enable_sequences() == _after(TAKES).enable_sequences()


@given(st.binary(max_size=300))
def test_no_bytes_are_too_strange(noise: bytes) -> None:
    modes = _after(noise, noise)
    assert _after(modes.enable_sequences()).reset_sequences() == modes.reset_sequences()


def test_changes_are_told_so_that_the_guard_can_be() -> None:
    modes = Modes()
    assert modes.feed(b"\x1b[?2004h")
    assert not modes.feed(b"plain \x1b[1mbold")


def test_what_a_program_printed_before_it_failed_is_text() -> None:
    shown = b"\x1b[31merror: unknown option '--x'\x1b[0m\r\n\x1b]0;t\x07\x1b[?25h"
    assert without_sequences(shown) == "error: unknown option '--x'"
