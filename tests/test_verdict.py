"""What a turn came to: nothing is taken for success that is none."""

from __future__ import annotations

from typing import Any

import pytest

from claude_mpm.conversation.verdict import Circumstances, Outcome, judge
from claude_mpm.records import TurnRecord


def result(**fields: Any) -> TurnRecord:
    given = {"subtype": "success", "terminal_reason": "completed", **fields}
    return TurnRecord(session="s", offset=0, end=1, **given)


API_ERROR = result(is_error=True, terminal_reason="api_error", message="API Error: 429")
LIMIT = result(subtype="error_max_turns", is_error=True, terminal_reason="max_turns")
ABORTED = result(
    subtype="error_during_execution", is_error=True, terminal_reason="aborted_streaming"
)
CUT_SHORT = result(terminal_reason="aborted_tools")

CASES: dict[str, tuple[list[TurnRecord], dict[str, Any], Outcome, int]] = {
    "a result without error": ([result()], {}, Outcome.COMPLETED, 0),
    "success that is an API error": ([API_ERROR], {}, Outcome.FAILED, 1),
    "the error came in the first of two results": ([API_ERROR, result()], {}, Outcome.FAILED, 1),
    "a limit": ([LIMIT], {}, Outcome.FAILED, 1),
    "interrupted by the user": ([ABORTED], {"interrupted": True}, Outcome.INTERRUPTED, 130),
    "interrupted by somebody else": ([ABORTED], {}, Outcome.INTERRUPTED, 130),
    "success that was cut short": ([CUT_SHORT], {}, Outcome.INTERRUPTED, 130),
    "interrupted before it began": ([], {"interrupted": True}, Outcome.INTERRUPTED, 130),
    "out of time": ([ABORTED], {"timed_out": True}, Outcome.TIMED_OUT, 124),
    "claude died": ([], {"ended": True, "exit_status": 137}, Outcome.LOST, 1),
    "claude left with status 0 and no result": (
        [], {"ended": True, "exit_status": 0}, Outcome.LOST, 1,
    ),
    "a subagent did not hand back": ([result()], {"background": 1}, Outcome.INCOMPLETE, 1),
    "a subagent was stopped": ([result()], {"stopped": 1}, Outcome.INCOMPLETE, 1),
    "a server was left running": ([result()], {"commands": 1}, Outcome.COMPLETED, 0),
    "out of time, and done by itself anyway": (
        [result()], {"timed_out": True, "over": True}, Outcome.COMPLETED, 0,
    ),
    "out of time, and failed by itself": (
        [API_ERROR], {"timed_out": True, "over": True}, Outcome.FAILED, 1,
    ),
    "out of time with a result, and never done": (
        [result()], {"timed_out": True}, Outcome.TIMED_OUT, 124,
    ),
    "out of time while a subagent was at work": (
        [result()], {"timed_out": True, "over": True, "stopped": 1}, Outcome.TIMED_OUT, 124,
    ),
    "stood still, was interrupted, and done by itself": (
        [result()], {"stalled": "Claude was silent", "over": True}, Outcome.COMPLETED, 0,
    ),
    "an error that is not called one": (
        [result(subtype="error_max_turns", terminal_reason="")], {}, Outcome.FAILED, 1,
    ),
    "an error of any name": (
        [result(subtype="error_of_tomorrow", terminal_reason="")], {}, Outcome.FAILED, 1,
    ),
    "interrupted, in a build that gives no reason": (
        [result(subtype="error_during_execution", terminal_reason="")],
        {"interrupted": True}, Outcome.INTERRUPTED, 130,
    ),
    "ended in the middle, and nobody asked for that": (
        [result(subtype="error_during_execution", terminal_reason="")], {}, Outcome.FAILED, 1,
    ),
    "out of time, in a build that gives no reason": (
        [result(subtype="error_during_execution", terminal_reason="")],
        {"timed_out": True}, Outcome.TIMED_OUT, 124,
    ),
    "a result before it is missing": ([result(number=2, missing=1)], {}, Outcome.INCOMPLETE, 1),
    "a build that is too old for the model": (
        [result(is_error=True, api_error="claude_code_version_too_old")], {}, Outcome.OUTDATED, 3,
    ),
    "a build that is too old, in words alone": (
        [result(is_error=True, message="API Error: 400 Claude Code 2.1.9 does not support this"
                " model; version 2.1.400 or newer is required")], {}, Outcome.OUTDATED, 3,
    ),
    "idle, and no result": (
        [], {"not_idle": "Claude is idle and has given no result"}, Outcome.LOST, 1,
    ),
    "no value for a schema": ([result()], {"schema": True}, Outcome.FAILED, 1),
    "a value for a schema": (
        [result(structured_output={"n": 1})], {"schema": True}, Outcome.COMPLETED, 0,
    ),
    "a value that is false": (
        [result(structured_output=False)], {"schema": True}, Outcome.COMPLETED, 0,
    ),
    "a value in the first of two results": (
        [result(structured_output={}), result()], {"schema": True}, Outcome.COMPLETED, 0,
    ),
    "a command has no value to give": (
        [result(local_command="cost")], {"schema": True}, Outcome.COMPLETED, 0,
    ),
    "plain text that ended well": (
        [], {"structured": False, "ended": True, "exit_status": 0}, Outcome.COMPLETED, 0,
    ),
    "plain text that ended badly": (
        [], {"structured": False, "ended": True, "exit_status": 1}, Outcome.LOST, 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_outcome_and_exit_status(case: str) -> None:
    results, known, outcome, status = CASES[case]
    verdict = judge(results, Circumstances(**known))
    assert (verdict.outcome, verdict.exit_status) == (outcome, status)
    assert verdict.ok is (outcome is Outcome.COMPLETED)
    assert verdict.evidence
    assert bool(verdict.reason) is not verdict.ok
    assert str(outcome) in str(verdict)


def test_a_loss_says_what_claude_said_last() -> None:
    known = Circumstances(ended=True, exit_status=1, stderr="a warning\nError: no such option")
    assert judge([], known).reason.endswith("status 1 without a result: Error: no such option")


def test_the_evidence_names_what_was_refused_run_and_told() -> None:
    """Beside the outcome, which they do not change."""
    told = result(
        denials=2, denied_tools=("Write", "Read"), local_command="cost", notices=("overridden",)
    )
    verdict = judge([told], Circumstances(strays=(result(),)))
    assert verdict.ok
    assert verdict.evidence[1:] == (
        "a command of Claude Code ran, and no prompt (cost)",
        "2 uses of tools were refused (Write, Read)",
        "Claude Code says: overridden",
        "result at byte 0 names no prompt, and came before Claude began with this one",
    )


def test_refused_tools_are_named_in_the_line() -> None:
    refused = result(denials=3, denied_tools=("Bash", "Write"))
    verdict = judge([refused, result(denials=1, denied_tools=("Bash",))], Circumstances())
    assert str(verdict) == "completed (4 uses of tools were refused: Bash, Write)"
    assert verdict.ok
    nameless = judge([result(denials=1)], Circumstances())
    assert str(nameless) == "completed (1 use of a tool was refused: no name given)"


def test_what_is_missing_or_goes_on_is_evidence() -> None:
    told = result(
        number=5, missing=2, queued_turns=3, resume_reason="interrupted_turn", preempted="rapid"
    )
    evidence = "\n".join(judge([told], Circumstances()).evidence)
    for words in ("2 results", "number 5", "3 prompts waited", "interrupted_turn", "rapid"):
        assert words in evidence


def test_the_mend_is_in_the_line_where_a_build_is_too_old() -> None:
    old = result(is_error=True, message="too old", api_error="claude_code_version_too_old")
    assert "claude update" in judge([old], Circumstances()).reason
