"""Where turns begin and end in Claude Code's own transcripts, and what they cost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.processors.delegations import DelegationProcessor
from claude_mpm.processors.tickets.processor import TicketProcessor
from claude_mpm.processors.transcript_turns import TranscriptTurns, primed
from claude_mpm.wire import Transcript
from claude_mpm.wire.framing import Line, LineFramer
from claude_mpm.wire.text_lines import LineAssembler

if TYPE_CHECKING:
    from claude_mpm.records import TurnRecord
    from claude_mpm.wire.events import Event

SESSION = "s1"


def prompt(text: str, uuid: str = "typed-1", source: str = "typed") -> dict[str, Any]:
    return {
        "type": "user",
        "message": {"role": "user", "content": text},
        "uuid": uuid,
        "promptSource": source,
        "origin": {"kind": "human"},
        "isSidechain": False,
    }


def answer(
    text: str, stop: str | None = "end_turn", id: str = "msg_1", **more: Any
) -> dict[str, Any]:
    usage = {"input_tokens": 100, "output_tokens": 7, "cache_read_input_tokens": 3}
    message = {"id": id, "role": "assistant", "model": "m", "stop_reason": stop, "usage": usage}
    blocks = [{"type": "text", "text": text}]
    return {
        "type": "assistant",
        "message": {**message, "content": blocks},
        "isSidechain": False,
        **more,
    }


def user(text: str) -> dict[str, Any]:
    return {"type": "user", "message": {"content": [{"type": "text", "text": text}]}}


def started(uuid: str) -> dict[str, Any]:
    return {"type": "command_lifecycle", "command_uuid": uuid, "state": "started"}


def idle() -> dict[str, Any]:
    return {"type": "system", "subtype": "host_state", "state": "idle", "status": ""}


def duration(milliseconds: int = 260, pending: int = 0) -> dict[str, Any]:
    told = {"pendingBackgroundAgentCount": pending} if pending else {}
    return {"type": "system", "subtype": "turn_duration", "durationMs": milliseconds, **told}


def cost(total: float, conversation: str = "c1") -> dict[str, Any]:
    return {"type": "cost-state", "totalCostUSD": total, "sessionId": conversation}


def journal(*lines: dict[str, Any]) -> list[Line]:
    return LineFramer().feed("".join(json.dumps(line) + "\n" for line in lines).encode())


def found(*lines: dict[str, Any], turns: TranscriptTurns | None = None) -> list[Event]:
    turns = turns or TranscriptTurns(SESSION)
    wire = Transcript()
    events = [event for line in journal(*lines) for event in wire.decode(line)]
    return [made for event in events for made in turns(event)]


def turns_of(*lines: dict[str, Any]) -> list[TurnRecord]:
    return [event.data for event in found(*lines) if event.kind == "turn"]


def test_a_turn_of_a_person_has_their_prompts_own_identity() -> None:
    (turn,) = turns_of(prompt("Go"), answer("Done."), duration(260))
    assert turn.prompts == ("typed-1",)
    assert (turn.subtype, turn.is_error, turn.duration) == ("success", False, 0.26)


def test_a_turn_of_the_inbox_has_the_identity_that_was_put() -> None:
    lines = (started("put-1"), prompt("Go"), answer("Done."), duration())
    (turn,) = turns_of(*lines)
    assert turn.prompts == ("put-1",)
    assert not [event for event in found(*lines) if event.kind == "command_lifecycle"]


def test_usage_repeated_per_content_block() -> None:
    (turn,) = turns_of(prompt("Go"), answer("a"), answer("b"), answer("c", id="msg_2"), duration())
    assert (turn.input_tokens, turn.output_tokens, turn.cache_read_tokens) == (200, 14, 6)


def test_a_subagents_tokens_count_and_its_words_do_not() -> None:
    aside = answer("aside", id="msg_9", isSidechain=True, agentId="a1", attributionAgent="qa")
    lines = (prompt("Go"), aside, answer("Done."), duration())
    (turn,) = turns_of(*lines)
    assert turn.input_tokens == 200
    wire, assembler = Transcript(), LineAssembler()
    events = [event for line in journal(*lines) for event in wire.decode(line)]
    assert [text for event in events for text in assembler.feed(event)] == ["Done."]


def test_a_ticket_of_a_subagent_says_whose_it_is() -> None:
    aside = answer("TODO: Mend it", isSidechain=True, agentId="a1", attributionAgent="qa")
    (event,) = Transcript().decode(journal(aside)[0])
    (ticket,) = TicketProcessor(SESSION)(event)
    assert (ticket.data.title, ticket.data.agent) == ("Mend it", "qa")


@pytest.mark.parametrize(
    "note", ["[Request interrupted by user]", "[Request interrupted by user for tool use]"]
)
def test_an_interrupted_turn(note: str) -> None:
    (turn,) = turns_of(prompt("Go"), answer("I beg", None, isAbortedMidStream=True), user(note))
    assert turn.terminal_reason == "aborted"


def test_a_prompt_that_was_taken_back_before_an_answer() -> None:
    (turn,) = turns_of(prompt("Go"), idle())
    assert turn.terminal_reason == "aborted"
    first, second = turns_of(prompt("Go"), prompt("Go on", "typed-2"), answer("Done."), duration())
    assert (first.terminal_reason, second.terminal_reason) == ("aborted", "")
    assert second.prompts == ("typed-2",)


def test_a_turn_without_a_duration_is_over_when_claude_is_idle() -> None:
    (turn,) = turns_of(prompt("Go"), answer("Done."), idle())
    assert (turn.subtype, turn.terminal_reason) == ("success", "")


def test_the_end_is_told_once() -> None:
    assert len(turns_of(prompt("Go"), answer("Done."), duration(), idle(), idle())) == 1


def test_an_api_error() -> None:
    error = answer(
        "API Error: 400 bad", "stop_sequence", isApiErrorMessage=True, apiErrorStatus=400
    )
    (turn,) = turns_of(prompt("Go"), error)
    assert (turn.is_error, turn.message, turn.api_error_status) == (True, "API Error: 400 bad", 400)


def test_a_subagent_in_the_background_is_waited_for() -> None:
    report = {
        **prompt("<task-notification>…", "n1", "system"),
        "origin": {"kind": "task-notification"},
    }
    events = found(
        prompt("Go"), answer("Launched."), duration(pending=1), report, answer("Heard."), duration()
    )
    kinds = [event.type for event in events]
    assert kinds == [
        "command_lifecycle",
        "system/background_tasks_changed",
        "turn",
        "system/background_tasks_changed",
        "turn",
    ]
    assert [len(e.data.tasks) for e in events if e.kind == "system"] == [1, 0]
    assert [e.data.origin for e in events if e.kind == "turn"] == ["", "task-notification"]


def test_a_background_agents_report_is_the_end_of_its_delegation() -> None:
    call = {"type": "tool_use", "id": "t1", "name": "Agent", "input": {"subagent_type": "qa"}}
    launched = {"type": "tool_result", "tool_use_id": "t1", "content": "Async agent launched …"}
    report = (
        "<task-notification>\n<tool-use-id>t1</tool-use-id>\n<status>completed</status>\n"
        "<summary>finished</summary>\n<result>All\ngreen</result>\n"
        "<usage><duration_ms>322</duration_ms></usage>\n</task-notification>"
    )
    lines = (
        {"type": "assistant", "message": {"content": [call]}},
        {"type": "user", "message": {"content": [launched]}},
        {"type": "queue-operation", "operation": "enqueue", "content": report},
    )
    delegations, wire = DelegationProcessor(SESSION), Transcript()
    events = [event for line in journal(*lines) for event in wire.decode(line)]
    *_, last = [made.data for event in events for made in delegations(event)]
    assert (last.state, last.result, last.duration) == ("completed", "All\ngreen", 0.322)


def test_the_report_of_an_agent_is_without_the_notes_to_the_model() -> None:
    call = {"type": "tool_use", "id": "t1", "name": "Agent", "input": {"subagent_type": "qa"}}
    said = {"type": "text", "text": "All is well."}
    note = {"type": "text", "text": "agentId: a1 (use SendMessage with to: 'a1' to continue it)"}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [said, note]}
    lines = (
        {"type": "assistant", "message": {"content": [call]}},
        {
            "type": "user",
            "message": {"content": [result]},
            "toolUseResult": {"status": "completed", "agentId": "a1", "content": [said]},
        },
    )
    delegations, wire = DelegationProcessor(SESSION), Transcript()
    events = [event for line in journal(*lines) for event in wire.decode(line)]
    *_, last = [made.data for event in events for made in delegations(event)]
    assert (last.state, last.result) == ("completed", "All is well.")


def test_a_command_for_claude_code_itself_is_a_turn_without_words() -> None:
    command = {"type": "system", "subtype": "local_command", "content": ""}
    (turn,) = turns_of(started("put-1"), command)
    assert turn.prompts == ("put-1",)
    (turn,) = turns_of(started("put-1"), idle())
    assert turn.prompts == ("put-1",)


def test_a_prompt_that_was_slipped_into_a_running_turn_is_answered_by_it() -> None:
    absorbed = {"type": "queue-operation", "operation": "remove", "reason": "absorbed_mid_turn"}
    (turn,) = turns_of(prompt("Go"), started("put-1"), absorbed, answer("Done."), duration())
    assert turn.prompts == ("typed-1", "put-1")


def test_a_prompt_that_claude_did_not_take_has_failed() -> None:
    (turn,) = turns_of({"type": "command_lifecycle", "command_uuid": "put-1", "state": "refused"})
    assert (turn.prompts, turn.is_error) == (("put-1",), True)


def test_a_prompt_that_was_cancelled_leaves_the_running_turn_alone() -> None:
    cancelled = {"type": "command_lifecycle", "command_uuid": "put-2", "state": "cancelled"}
    first, second = turns_of(prompt("Go"), cancelled, answer("Done."), duration())
    assert (first.prompts, first.terminal_reason) == (("put-2",), "aborted")
    assert (second.prompts, second.terminal_reason) == (("typed-1",), "")


def test_total_cost_is_cumulative_and_each_conversation_has_its_own() -> None:
    events = found(cost(0.5), cost(0.5), cost(0.75), cost(0.6, "c2"))
    assert [event.data.cost_usd for event in events] == [0.5, 0.25, 0.6]
    assert events[-1].data.total_cost_usd == pytest.approx(1.35)


def test_a_reader_may_begin_in_the_middle_of_a_turn() -> None:
    lines = journal(
        cost(0.5), prompt("Zero", "typed-0"), answer("0"), duration(), prompt("Go"), answer("a"),
        answer("b", id="msg_2"), duration(), cost(0.75),
    )  # fmt: skip
    start = lines[5].end
    turns = primed(TranscriptTurns(SESSION), lines, start)
    wire = Transcript()
    events = [event for line in lines if line.offset >= start for event in wire.decode(line)]
    made = [each for event in events for each in turns(event)]
    (turn,) = [each.data for each in made if each.kind == "turn"]
    assert (turn.prompts, turn.input_tokens) == (("typed-1",), 200)
    assert made[-1].data.cost_usd == 0.25


def test_lines_of_another_shape_are_no_trouble() -> None:
    strange = (
        {"type": "user"}, {"type": "assistant", "message": {"content": 7}}, {"type": "cost-state"},
        {"type": "user", "message": {"content": []}, "promptSource": 3}, {"type": "system"},
        {"type": "queue-operation", "content": {"a": 1}}, {"type": "attachment", "usage": None},
    )  # fmt: skip
    assert not turns_of(*strange)
