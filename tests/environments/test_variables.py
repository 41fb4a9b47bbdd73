"""Which variables reach a place: names are compared with patterns as the shell would."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from claude_mpm.environments import variables

PATTERNS = (*variables._BOUND_HERE, *variables._OF_AN_OUTER_CLAUDE)
PARTS = ("", "X", "_", "TOKEN", "A_B", "_SOCKET")
NAMES = {
    name
    for pattern in PATTERNS
    for part in PARTS
    for whole in (pattern.replace("*", part),)
    for name in (whole, f"{whole}Z", f"Z{whole}", whole[:-1])
}


@pytest.mark.parametrize("patterns", [variables._BOUND_HERE, variables._OF_AN_OUTER_CLAUDE])
def test_a_name_is_compared_as_fnmatch_compares_it(patterns: tuple[str, ...]) -> None:
    for name in NAMES | {"CLAUDE_CODE_TOKEN", "CLAUDE_CODE__TOKEN", "CLAUDE_CODE_SOCKET"}:
        expected = any(fnmatchcase(name, pattern) for pattern in patterns)
        assert variables._matches(name, patterns) == expected, name


def test_no_pattern_has_more_than_one_star_or_another_sign() -> None:
    assert not [each for each in PATTERNS if each.count("*") > 1 or set(each) & set("?[]")]
