"""Tickets and delegations in lines of text, however many of them come together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from claude_mpm.processors.plain_lines import PIECE, PlainLinesProcessor
from claude_mpm.processors.tickets.finder import DEFAULT_MARKERS
from claude_mpm.wire import PlainLines
from claude_mpm.wire.framing import Line

if TYPE_CHECKING:
    from claude_mpm.wire.events import Event

TEXT = "\n".join(
    [
        *["nothing is said here, and it is said in more than sixty characters of text"] * PIECE,
        "Delegating to engineer: mend the reader",
        "TODO: check the cursor",
        "  of the reader",
        "```",
        "TODO: this is code",
        "Delegating to qa: this is code",
        "```",
        "Fixed:",
        *["- nothing"] * PIECE,
        "- TODO: this is done",
        "",
        "Delegating to qa: try it",
        "> Delegating to ops: this is quoted",
        "BUG: it is slow",
    ]
)
TICKETS = [("check the cursor", "of the reader"), ("it is slow", "")]
DELEGATIONS = [("engineer", "mend the reader"), ("qa", "try it")]


@pytest.mark.parametrize("together", [1, 2, 7, PIECE, 10 * PIECE])
def test_lines_that_come_together_contain_what_they_contain_one_by_one(together: int) -> None:
    process = PlainLinesProcessor("s", DEFAULT_MARKERS)
    lines, offset = TEXT.split("\n"), 0
    found: list[Event] = []
    for first in range(0, len(lines), together):
        data = "\n".join(lines[first : first + together]).encode()
        line = Line(offset, data, offset + len(data) + 1)
        for event in PlainLines().decode(line):
            found += process(event)
        offset = line.end
    found += process.finish()
    tickets = [event for event in found if event.kind == "ticket"]
    delegations = [event for event in found if event.kind == "delegation"]
    assert [(t.data.title, t.data.description) for t in tickets] == TICKETS
    assert [(d.data.agent, d.data.description) for d in delegations] == DELEGATIONS
    text = TEXT.encode()
    for event in delegations:
        begin = text.rfind(b"\n", 0, text.find(event.data.description.encode())) + 1
        assert (event.offset, event.data.offset) == (begin, begin)


def test_without_markers_no_tickets_are_found_and_delegations_are() -> None:
    process = PlainLinesProcessor("s", {})
    (event,) = PlainLines().decode(Line(0, TEXT.encode(), len(TEXT.encode())))
    found = [*process(event), *process.finish()]
    assert [(event.data.agent, event.data.description) for event in found] == DELEGATIONS
