"""What every build from the floor on has to do with us, whichever is on PATH: `make releases`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from claude_mpm.capabilities.facts import by_version
from claude_mpm.errors import BudgetExceeded
from claude_mpm.testing import Call, Delegate, Item, Say, Stall, Usage
from claude_mpm.testing.subject import until

if TYPE_CHECKING:
    from claude_mpm.testing import ScriptedModel
    from conftest import MakeClaude

DEAR = (Usage(input_tokens=100_000, output_tokens=1000), Say("dear"))


@pytest.fixture
def framework(tmp_path: Path) -> Path:
    """A framework with an agent of its own."""
    folder = tmp_path / "framework"
    (folder / "agents").mkdir(parents=True)
    (folder / "INSTRUCTIONS.md").write_text("Be of the FIRST kind.\n")
    agent = "---\nname: digger\ndescription: digs\n---\nDig deep, DIGGER.\n"
    (folder / "agents" / "digger.md").write_text(agent)
    return folder


def test_an_agent_of_the_framework_is_known_and_its_report_belongs_to_the_turn(
    make_claude: MakeClaude, model: ScriptedModel, framework: Path
) -> None:
    work: list[Item] = [Stall(), Say("dug")]
    model.on("go", Delegate("digger", "dig", work, background=True, when_done=[Say("It is dug.")]),
             Say("asked"))  # fmt: skip
    with make_claude(framework_path=framework) as claude:
        turn = claude.ask("go")
        model.wait_for_stall()
        until(lambda: turn.results, "the turn has no first result")
        model.release()
        turn.check()
        assert turn.text == "asked\nIt is dug."
        (made,) = turn.delegations
        assert (made.agent, made.state) == ("digger", "completed")
        assert "DIGGER" in model.wait_for_request("dig").system
        assert claude.ask("next").check().text == "Claude heard: next"


def test_an_interrupt_ends_a_turn_whose_subagent_is_at_work(
    make_claude: MakeClaude, model: ScriptedModel, framework: Path
) -> None:
    model.on("go", Delegate("digger", "dig", [Stall()], background=True), Say("asked"))
    with make_claude(framework_path=framework) as claude:
        turn = claude.ask("go")
        model.wait_for_stall()
        while not turn.results:
            next(turn.stream())
        turn.interrupt()
        assert not turn.wait(60).verdict.ok
        assert claude.ask("next").check().text == "Claude heard: next"


def test_a_resume_has_the_edited_framework_its_agents_and_the_right_costs(
    make_claude: MakeClaude, model: ScriptedModel, framework: Path
) -> None:
    model.on("dear", *DEAR)
    with make_claude(framework_path=framework, session_id="kept") as claude:
        first = claude.ask("dear").check().cost_usd
        assert first > 0.1
    (framework / "INSTRUCTIONS.md").write_text("Be of the SECOND kind.\n")
    with make_claude(framework_path=framework, session_id="kept", resume=True) as claude:
        assert claude.ask("dear").check().cost_usd == pytest.approx(first)
        assert claude.ask("dear").check().cost_usd == pytest.approx(first)
        assert claude.store.index.spent("kept").cost_usd == pytest.approx(3 * first)
    system = model.requests[-1].system
    assert "SECOND" in system
    assert "FIRST" not in system


def test_the_budget_of_a_session_counts_over_a_resume(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on("dear", *DEAR)
    with make_claude(session_id="kept") as claude:
        cost = claude.ask("dear").check().cost_usd
    limit = {"session_cost_limit_usd": 1.5 * cost}
    with make_claude(session_id="kept", resume=True, **limit) as claude:
        claude.ask("dear").wait()
        with pytest.raises(BudgetExceeded):
            claude.ask("more")


def test_what_nobody_may_answer_is_refused_and_named(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on("go", Call("Write", file_path=str(Path("note").absolute()), content="x"), Say("done"))
    with make_claude() as claude:
        turn = claude.ask("go").check()
    assert "refused: Write" in str(turn.verdict)
    assert not Path("note").exists()


def test_the_session_says_which_build_it_has(make_claude: MakeClaude) -> None:
    with make_claude(session_id="kept") as claude:
        claude.ask("hello").check()
        (start,) = claude.store.folder("kept").read_meta().starts
    assert start.claude_version
    assert start.claude_limits == by_version(start.claude_version).limits()
