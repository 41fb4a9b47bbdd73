"""What an answer is: lines of the model, of a command of Claude Code, or of the result alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.processors.tickets.processor import TicketProcessor
from claude_mpm.wire import StreamJson
from claude_mpm.wire.framing import Line
from claude_mpm.wire.text_lines import LineAssembler, notice

if TYPE_CHECKING:
    from claude_mpm.wire.events import Event

STARTED = {"type": "command_lifecycle", "command_uuid": "u1", "state": "started"}
INIT = {"type": "system", "subtype": "init"}


def events(*lines: dict[str, Any]) -> list[Event]:
    found: list[Event] = []
    for line in lines:
        data = json.dumps(line).encode()
        found += StreamJson().decode(Line(0, data, len(data) + 1))
    return found


def lines_of(*given: dict[str, Any]) -> list[str]:
    assembler = LineAssembler()
    return [line for event in events(*given) for line in assembler.feed(event)]


def said(text: str, **more: Any) -> dict[str, Any]:
    message = {"content": [{"type": "text", "text": text}], "model": "claude"}
    return {"type": "assistant", "message": message, **more}


def by_claude_code(text: str, **more: Any) -> dict[str, Any]:
    message = {"content": [{"type": "text", "text": text}], "model": "<synthetic>"}
    return {"type": "assistant", "message": message, **more}


def called(tool: str) -> dict[str, Any]:
    block = {"type": "tool_use", "id": "t1", "name": tool, "input": {}}
    return {"type": "assistant", "message": {"content": [block], "model": "claude"}}


def result(text: str | None, **more: Any) -> dict[str, Any]:
    return {"type": "result", "subtype": "success", "result": text, **more}


COMMAND = by_claude_code("$0.00", local_command_source="<local-command-stdout>$0.00")
FORKED = by_claude_code("Done.\nTODO: paint", local_command_source="<local-command-stdout>Done.")
VALUE = result('{"n":42}', structured_output={"n": 42})

CASES: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "the model's words, not again from the result": (
        [STARTED, INIT, said("hello"), result("hello")], ["hello"],
    ),
    "the result has only the last of several messages": (
        [STARTED, said("one"), called("Bash"), said("two"), result("two")], ["one", "two"],
    ),
    "a command of Claude Code": ([STARTED, COMMAND, result("$0.00")], ["$0.00"]),
    "a forked skill": (
        [STARTED, FORKED, result("Done.\nTODO: paint")], ["Done.", "TODO: paint"],
    ),
    "a command in a release that gives no message for it": (
        [STARTED, result("Set model to opus")], ["Set model to opus"],
    ),
    "a release that acknowledges no prompt": ([INIT, result("one\ntwo\n")], ["one", "two"]),
    "the same answer to two commands": (
        [STARTED, result("$1"), STARTED, result("$1")], ["$1", "$1"],
    ),
    "a prompt that a hook has blocked": ([STARTED, INIT, result("blocked")], ["blocked"]),
    "a value for a schema": ([STARTED, called("StructuredOutput"), VALUE], ['{"n":42}']),
    "a value behind words": (
        [STARTED, said("I think"), called("StructuredOutput"), VALUE], ["I think", '{"n":42}'],
    ),
    "a value that was said as well": (
        [STARTED, called("StructuredOutput"), said('{"n":42}'), VALUE], ['{"n":42}'],
    ),
    "a value in a turn that no prompt started": ([called("StructuredOutput"), VALUE], ['{"n":42}']),
    "the same value for two prompts": (
        [STARTED, called("StructuredOutput"), VALUE] * 2, ['{"n":42}', '{"n":42}'],
    ),
    "a result that came twice": (
        [STARTED, called("StructuredOutput"), VALUE, VALUE, result("x"), result("x")],
        ['{"n":42}'],
    ),
    "words, and the result twice": ([STARTED, said("one"), result("one"), result("one")], ["one"]),
    "a result before Claude began with a prompt": (
        [{**STARTED, "state": "queued"}, INIT, result("old"), STARTED, said("new"), result("new")],
        ["new"],
    ),
    "a prompt that is taken up in the middle of a turn": (
        [STARTED, said("one"), STARTED, result("one")], ["one"],
    ),
    "read from the middle of a turn": ([result("said before")], []),
    "an API error": (
        [STARTED, by_claude_code("API Error", is_api_error_message=True),
         result("API Error", is_error=True)], [],
    ),
    "Claude Code's own note in a transcript": ([by_claude_code("No response requested.")], []),
    "nothing": ([STARTED, result("")], []),
    "no result": ([STARTED, result(None, is_error=True)], []),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_an_answer_is_given_out_once(case: str) -> None:
    given, lines = CASES[case]
    assert lines_of(*given) == lines


def test_pieces_of_an_answer_and_its_result_are_one() -> None:
    piece = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "one\ntw"}}
    streamed = {"type": "stream_event", "event": piece}
    given: list[dict[str, Any]] = [STARTED, streamed, said("one\ntwo"), result("one\ntwo")]
    assert lines_of(*given) == ["one", "two"]


def test_a_forked_skills_tickets_count_and_claude_codes_own_errors_do_not() -> None:
    error = by_claude_code("TODO: top up", is_api_error_message=True)
    note = by_claude_code("TODO: nobody said this")
    found = [
        ticket.data.title
        for event in events(FORKED, error, note)
        for ticket in TicketProcessor("s")(event)
    ]
    assert found == ["paint"]


def test_what_claude_code_tells_of_itself_is_known_by_its_type() -> None:
    told = {"type": "system", "subtype": "informational", "content": "overridden"}
    screen = {"type": "system", "subtype": "notification", "text": "ctrl+o to see"}
    cap = {**screen, "key": "stop-hook-block-cap", "text": "overridden"}
    odd = {"type": "system", "subtype": "informational", "content": ["not", "text"]}
    assert [notice(event) for event in events(told, screen, cap, odd, INIT)] == [
        "overridden", None, "overridden", None, None,
    ]  # fmt: skip
