"""Regular expressions that are compiled at their first use."""

from __future__ import annotations

import re

import pytest

from claude_mpm.patterns import lazy_pattern


def test_a_lazy_pattern_does_what_a_compiled_one_does() -> None:
    lazy, eager = lazy_pattern(r"(\w)(?P<rest>\w*)", re.ASCII), re.compile(r"(\w)(?P<rest>\w*)")
    text = "one two"
    assert [each.groups() for each in lazy.finditer(text)] == [
        each.groups() for each in eager.finditer(text)
    ]
    assert lazy.sub(r"\2", text) == "ne wo"
    assert lazy.fullmatch("one") and not lazy.fullmatch(text)
    assert lazy.pattern == eager.pattern
    assert lazy.flags & re.ASCII


def test_it_is_compiled_at_its_first_use_and_not_before() -> None:
    wrong = lazy_pattern("(")
    with pytest.raises(re.error):
        wrong.match("")


def test_bytes_are_searched_with_bytes() -> None:
    assert lazy_pattern(rb"\d+").findall(b"1 22") == [b"1", b"22"]
