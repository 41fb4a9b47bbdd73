"""What counts as a ticket in what the assistant says, and what only looks like one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_mpm.processors.tickets.finder import DEFAULT_MARKERS, FoundTicket, TicketFinder

_DATA = Path(__file__).resolve().parent.parent / "data"


def _cases() -> list[Any]:
    cases = []
    for name in ("labelled_lines.json", "ticket_lines.json"):
        for number, case in enumerate(json.loads((_DATA / name).read_text(encoding="utf-8"))):
            cases.append(pytest.param(case, id=f"{name[:-5]}-{number}-{case['tags'][0]}"))
    return cases


def _pieces() -> st.SearchStrategy[str]:
    signs = [
        "**",
        "_",
        "- ",
        "# ",
        "> ",
        "`",
        "```",
        "~~~",
        '"',
        "“",
        "(",
        "[",
        "]",
        ")",
        "|",
        "@@ ",
    ]
    words = [*DEFAULT_MARKERS, "Bug", "todo", "fixed", "no", "and", "Priority: high", "Tags: a, b"]
    ends = [
        ":",
        "\uff1a",
        " ",
        "\n",
        "\r\n",
        "  ",
        ".",
        ",",
        "✅",
        "🐛",
        "[x] ",
        "1. ",
        "x.py:3:",
        "é",
    ]
    return st.sampled_from([*signs, *words, *ends])


texts = st.lists(st.one_of(_pieces(), st.text(max_size=8)), max_size=30).map("".join)


@pytest.mark.parametrize("case", _cases())
def test_a_labelled_text_gives_exactly_its_tickets(case: dict[str, Any]) -> None:
    found = [(ticket.type, ticket.title) for ticket in TicketFinder().find(case["text"])]
    assert found == [(ticket["type"], ticket["title"]) for ticket in case["expected"]], case["why"]


def test_lines_below_a_ticket_describe_it() -> None:
    text = (
        "Intro\n- **BUG:** Crash on save\n  Description: pressing save twice\n  - Priority: P1\n"
        "  Assignee: alice\n  Labels: `ui`, editor\n  seen on macOS only\n- TODO: other"
    )
    assert TicketFinder().find(text) == [
        FoundTicket(
            "bug", "Crash on save", 1, "pressing save twice\nseen on macOS only", "high",
            ("ui", "editor"),
        ),
        FoundTicket("task", "other", 7),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "priority"),
    [
        ("#### **BUG #1: Pending id is not cleared** ⚠️ CRITICAL", "critical"),
        ("BUG: Lock leaks 🔴 HIGH", "high"),
        ("BUG(low): Lock leaks", "low"),
        ("CRITICAL BUG: Lock leaks", "critical"),
        ("I found a CRITICAL BUG: Lock leaks", "critical"),
        ("[P1] TODO: Lock leaks", "high"),
        ("BUG: Lock leaks\nPriority: urgent (blocks the release)", "critical"),
        ("BUG: Lock leaks\nSeverity: **Minor**", "low"),
        ("BUG: Lock leaks\nPriority: whatever", ""),
        ("BUG: high load makes it crash", ""),
    ],
)
def test_priority_is_taken_from_where_people_write_it(text: str, priority: str) -> None:
    assert [ticket.priority for ticket in TicketFinder().find(text)] == [priority]


def test_text_after_a_bold_title_is_its_description() -> None:
    [ticket] = TicketFinder().find("**BUG: totals are doubled** - seen in two of twelve runs")
    assert ticket == FoundTicket("bug", "totals are doubled", 0, "seen in two of twelve runs")


def test_a_sentence_may_go_on_after_its_bold_words() -> None:
    [ticket] = TicketFinder().find("**BUG: the total** is doubled")
    assert ticket.title == "the total is doubled"


def test_capitalised_labels_under_a_heading_of_finished_work_are_no_tickets() -> None:
    text = "## Issues Fixed\n- **Issue**: stale lock\n- TODO: tell the users\n## Rest\n- Bug: slow"
    assert [ticket.title for ticket in TicketFinder().find(text)] == ["tell the users", "slow"]


def test_a_heading_of_work_to_be_done_hides_nothing() -> None:
    text = "## What is to be done\n- Task: write the docs"
    assert [ticket.title for ticket in TicketFinder().find(text)] == ["write the docs"]


def test_markers_come_from_settings() -> None:
    finder = TicketFinder({"HACK": "debt", "Follow-up": "task", "待办": "task"})
    found = finder.find("HACK: two locks\nFOLLOW-UP: tell them\n待办: 写文档\nTODO: x\nhack: no")
    assert [(ticket.type, ticket.title) for ticket in found] == [
        ("debt", "two locks"),
        ("task", "tell them"),
        ("task", "写文档"),
    ]


def test_without_markers_nothing_is_found() -> None:
    assert TicketFinder({}).find("TODO: write tests") == []


def test_feed_gives_a_ticket_once_nothing_more_belongs_to_it() -> None:
    finder = TicketFinder()
    assert finder.feed("TODO: write tests\n") == []
    assert finder.feed("  Priority: high\n") == []
    assert finder.feed("Now the rest.\n") == [FoundTicket("task", "write tests", 0, "", "high")]
    assert finder.flush() == []


def test_flush_ends_the_text() -> None:
    finder = TicketFinder()
    finder.feed("```")
    assert finder.feed("TODO: in a fence") == []
    assert finder.flush() == []
    finder.feed("TODO: in the next text")
    assert finder.flush() == [FoundTicket("task", "in the next text", 0)]


def test_find_does_not_disturb_feed() -> None:
    finder = TicketFinder()
    finder.feed("```")
    assert finder.find("TODO: elsewhere") == [FoundTicket("task", "elsewhere", 0)]
    assert finder.feed("TODO: in the fence") == []
    assert finder.flush() == []


@pytest.mark.parametrize(
    "piece",
    [" ", "`", '"', "“", "*", "_", "TODO: a, ", "BUG", "(", "- ", "|-", "#", "a.", "1-", ":"],
)
@pytest.mark.parametrize("place", ["{}TODO: x", "TODO: {}x", "{}", "ok. TODO: x{}"])
def test_a_very_long_line_is_read(piece: str, place: str) -> None:
    line = place.format(piece * (200_000 // len(piece)))
    for ticket in TicketFinder().find(line):
        assert ticket.title


@given(texts)
def test_any_text_is_read_without_an_error(text: str) -> None:
    for ticket in TicketFinder().find(text):
        assert ticket.title == " ".join(ticket.title.split()) != ""
        assert ticket.type in DEFAULT_MARKERS.values()
        assert 0 <= ticket.line <= text.count("\n")


@given(texts)
def test_line_by_line_gives_the_same_as_the_whole_text(text: str) -> None:
    finder = TicketFinder()
    fed = [ticket for line in text.split("\n") for ticket in finder.feed(line)]
    assert fed + finder.flush() == TicketFinder().find(text)


@given(texts.filter(lambda text: "~~~" not in text), st.sampled_from(["~~~", "  ~~~~", "- ~~~ sh"]))
def test_a_code_fence_never_yields_a_ticket(text: str, fence: str) -> None:
    assert TicketFinder().find(f"{fence}\n{text}") == []
