"""The changelog keeps the form of Keep a Changelog, so that people and programs can read it."""

from __future__ import annotations

import re
from pathlib import Path

import claude_mpm

TEXT = (Path(__file__).parents[1] / "CHANGELOG.md").read_text("utf-8")
# The newest first: what stands behind `## `, and what stands below it.
_PARTS = re.split(r"^## (.+)$", TEXT, flags=re.MULTILINE)
SECTIONS = dict(zip(_PARTS[1::2], _PARTS[2::2], strict=True))
RELEASE = re.compile(r"\[?(\d+)\.(\d+)\.(\d+)\]? - \d{4}-\d\d-\d\d")
UNRELEASED = re.compile(r"\[?Unreleased\]?")
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def _releases() -> list[str]:
    matches = [RELEASE.fullmatch(heading) for heading in SECTIONS]
    return [".".join(match.groups()) for match in matches if match]


def test_it_says_what_form_it_keeps() -> None:
    assert TEXT.startswith("# Changelog\n")
    assert "Keep a Changelog" in _PARTS[0]
    assert "Semantic Versioning" in _PARTS[0]


def test_every_version_has_a_date_but_what_is_not_released() -> None:
    headings = [heading for heading in SECTIONS if not RELEASE.fullmatch(heading)]
    assert all(UNRELEASED.fullmatch(heading) for heading in headings), headings
    assert headings in ([], list(SECTIONS)[:1]), "what is not released comes first, and once"


def test_every_change_stands_below_its_kind() -> None:
    for heading, body in SECTIONS.items():
        kinds = re.findall(r"^### (.+)$", body, flags=re.MULTILINE)
        assert set(kinds) <= KINDS, heading
        assert len(kinds) == len(set(kinds)), heading
        lists = re.findall(r"^### .+\n\n- \S", body, flags=re.MULTILINE)
        assert len(lists) == len(kinds), f"{heading}: a kind without a list of changes"


def test_versions_descend() -> None:
    numbers = [tuple(map(int, version.split("."))) for version in _releases()]
    assert numbers == sorted(set(numbers), reverse=True)


def test_the_newest_changes_are_told() -> None:
    newest, body = next(iter(SECTIONS.items()))
    assert "\n- " in body, f"{newest} is empty"
    assert claude_mpm.__version__ in _releases() or UNRELEASED.fullmatch(newest)
