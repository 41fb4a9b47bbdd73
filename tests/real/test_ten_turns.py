"""The real Claude Code in one session: prompts and results, cost, order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from claude_mpm.testing import Stall, Usage

if TYPE_CHECKING:
    from claude_mpm.testing import ScriptedModel
    from conftest import MakeClaude


def test_ten_prompts_give_ten_results_in_order_with_one_cost_each(make_claude: MakeClaude) -> None:
    with make_claude() as claude:
        turns = [claude.ask(f"prompt {n}").check() for n in range(10)]
        results = [event.data for event in claude.events() if event.kind == "result"]
    assert [turn.text for turn in turns] == [f"Claude heard: prompt {n}" for n in range(10)]
    assert len(results) == 10
    assert all(len(turn.results) == 1 and turn.cost_usd > 0 for turn in turns)
    assert sum(turn.cost_usd for turn in turns) == pytest.approx(results[-1].total_cost_usd)


def test_prompts_asked_all_at_once_are_still_one_turn_each(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on("prompt 1", Usage(input_tokens=5000), "the dear one")
    with make_claude() as claude:
        turns = [claude.ask(f"prompt {n}") for n in range(5)]
        texts = [turn.text for turn in turns]
        costs = [turn.cost_usd for turn in turns]
    assert texts[1] == "the dear one"
    assert [texts[n] for n in (0, 2, 3, 4)] == [f"Claude heard: prompt {n}" for n in (0, 2, 3, 4)]
    assert costs[1] > 2 * costs[0] > 0


def test_lines_come_while_the_answer_is_being_made(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on("slowly", "first line\nsecond", Stall(), " half\nthird")
    with make_claude(partial=True) as claude:
        lines = iter(claude.ask("slowly"))
        assert next(lines) == "first line"
        model.wait_for_stall()
        model.release()
        assert list(lines) == ["second half", "third"]


def test_the_same_in_an_event_loop(make_claude: MakeClaude) -> None:
    async def conversation() -> list[str]:
        async with make_claude() as claude:
            turn = await claude.ask("one")
            lines = [line async for line in claude.ask("two")]
            third, fourth = await asyncio.gather(
                _wait(claude.ask("three")), _wait(claude.ask("four"))
            )
        return [turn.text, *lines, third, fourth]

    async def _wait(turn: object) -> str:
        return (await turn).text  # type: ignore[misc, no-any-return]

    heard = asyncio.run(conversation())
    assert heard == [f"Claude heard: {word}" for word in ("one", "two", "three", "four")]
