"""What was used is counted once, by the turn and by the day in which it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.processors.usage import SUM_REQUEST, UsageProcessor
from claude_mpm.processors.validated_numbers import moment
from claude_mpm.records import Cost, Spending, TurnRecord
from claude_mpm.sessions.index import Index, Position
from claude_mpm.wire.events import Assistant, ControlResponse, Event, Result

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIDNIGHT = 1_800_000_000.0
USAGE = {"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 3}


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    index = Index(tmp_path / "index.sqlite")
    yield index
    index.close()


def spend(index: Index, session: str, offset: int, at: float, cost: float, tokens: int) -> None:
    turn = TurnRecord(
        session=session, offset=offset, end=offset + 1, cost_usd=cost, tokens=tokens, ended_at=at
    )
    index.store(session, [Event("turn", turn, offset, offset + 1)], Position(cursor=offset + 1))


def test_a_day_is_the_sum_of_all_sessions_since_midnight(index: Index) -> None:
    spend(index, "a", 1, MIDNIGHT - 1, 8.0, 800)
    spend(index, "a", 2, MIDNIGHT, 1.0, 100)
    spend(index, "b", 1, MIDNIGHT + 1, 2.0, 200)
    told = Cost(session="c", cost_usd=4.0, total_cost_usd=4.0, told_at=MIDNIGHT + 2)
    index.store("c", [Event("cost", told, 1, 2)], Position(cursor=2))
    assert index.spent_since(MIDNIGHT, "a") == Spending(7.0, 300)
    assert index.spent("a") == Spending(9.0, 900)
    assert index.spent("nobody") == Spending()


def test_a_turn_that_runs_counts_until_its_end_takes_its_place(index: Index) -> None:
    index.note_running("a", Spending(1.0, 100))
    index.note_running("a", Spending(2.0, 200))
    assert index.spent_since(MIDNIGHT - 1e9, "b") == Spending(2.0, 200)
    assert index.spent_since(MIDNIGHT - 1e9, "a") == Spending()  # who asks has it at first hand
    assert index.spent("a") == Spending()
    spend(index, "a", 5, MIDNIGHT, 3.0, 300)
    spend(index, "a", 5, MIDNIGHT, 3.0, 300)  # a reader that is behind
    assert index.spent_since(MIDNIGHT - 1e9, "b") == Spending(3.0, 300)


def turns(*results: dict[str, Any], at: str | None = None) -> list[TurnRecord]:
    processor = UsageProcessor("s")
    list(processor(Event("assistant", Assistant(timestamp=at), 0, 1)))
    events = (Event("result", Result(**result), n, n + 1) for n, result in enumerate(results))
    return [found.data for event in events for found in processor(event)]


def models(**tokens: int) -> dict[str, Any]:
    return {"modelUsage": {name: {"inputTokens": used} for name, used in tokens.items()}}


def test_the_tokens_of_a_turn_are_those_of_all_models_since_the_last() -> None:
    found = turns(models(opus=100), models(opus=150, haiku=30), {"usage": USAGE}, models(opus=7))
    assert [turn.tokens for turn in found] == [100, 80, 6, 7]  # the last begins again
    assert [turn.total_tokens for turn in found] == [100, 180, 186, 7]


@pytest.mark.parametrize("strange", ["x", 7, {"opus": None}, {"opus": {"inputTokens": -1}}])
def test_what_cannot_be_a_count_is_none(strange: object) -> None:
    (turn,) = turns({"modelUsage": strange, "usage": USAGE})
    assert turn.tokens == 6


def test_a_turn_ended_when_the_last_message_came() -> None:
    (turn,) = turns({}, at="2027-01-15T08:00:00.500Z")
    assert turn.ended_at == MIDNIGHT + 0.5
    assert turns({})[0].ended_at is None
    assert moment("yesterday") is None
    assert moment("0001-01-01T00:00:00Z") is None


def test_results_are_counted_by_their_own_numbers() -> None:
    processor = UsageProcessor("s", number=-1)  # a process that has begun
    found = []
    for place, number in enumerate([0, 1, 4, None, 6, 0, 2]):
        event = Event("result", Result(result_index=number), place, place + 1)
        found += [each.data.missing for each in processor(event)]
    # Of one that has no number, nothing is known; a number that went back is another process's.
    assert found == [0, 0, 2, 0, 0, 0, 1]


def test_where_nobody_knows_what_came_before_nothing_is_missing() -> None:
    (turn,) = turns({"result_index": 7})
    assert (turn.number, turn.missing) == (7, 0)


def sum_told(cost: float, request: str = f"{SUM_REQUEST}1") -> Event:
    session = {"total_cost_usd": cost, "model_usage": {}}
    response = {"request_id": request, "response": {"session": session}}
    return Event("control_response", ControlResponse(response), 0, 1)


@pytest.mark.parametrize(
    ("told", "cost"),
    [
        (sum_told(0.0), 0.5),  # it begins again
        (sum_told(0.5), 0.0),  # it goes on
        (sum_told(9.0), 0.0),  # no turn of ours has cost less than nothing
        (sum_told(0.0, "mpm_other"), 0.0),  # asked for in the middle of a turn
    ],
)
def test_a_sum_that_is_told_at_a_start_is_where_the_difference_begins(
    told: Event, cost: float
) -> None:
    processor = UsageProcessor("s", before=Spending(0.5))
    list(processor(told))
    (found,) = processor(Event("result", Result(total_cost_usd=0.5), 1, 2))
    assert found.data.cost_usd == cost
