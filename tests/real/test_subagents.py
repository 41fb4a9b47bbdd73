"""The real Claude Code delegates to subagents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_mpm.testing import Call, Delegate, Stall

if TYPE_CHECKING:
    from claude_mpm.testing import ScriptedModel
    from conftest import MakeClaude


def test_a_foreground_subagent_is_followed_to_its_end(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on(
        "Ship it",
        Delegate(
            "qa",
            "Check the release",
            does=[Call("Bash", command="echo checked"), "All green.\nBUG: the log is too long"],
        ),
        "It is checked.",
    )
    with make_claude() as claude:
        turn = claude.ask("Ship it").check()
        (delegation,) = turn.delegations
    assert turn.text == "It is checked."
    assert (delegation.agent, delegation.prompt) == ("qa", "Check the release")
    assert (delegation.state, delegation.source) == ("completed", "tool")
    assert not delegation.background
    assert delegation.result == "All green.\nBUG: the log is too long"
    assert delegation.duration is not None
    assert claude.store.index.delegations(claude.session_id) == [delegation]


def test_a_turn_is_over_only_when_its_background_subagent_has_handed_back(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on(
        "Look around",
        Delegate(
            "researcher",
            "Search",
            does=[Stall(), "Found."],
            background=True,
            when_done="The search is over.",
        ),
        "It searches.",
    )
    with make_claude() as claude:
        turn = claude.ask("Look around")
        lines = iter(turn)
        assert next(lines) == "It searches."
        model.wait_for_stall()
        assert not turn.done
        model.release()
        assert list(lines) == ["The search is over."]
        (delegation,) = turn.delegations
        origins = [result.origin for result in turn.results]
        after = claude.ask("and now?").check()
    assert turn.verdict.ok
    assert origins == ["", "task-notification"]
    assert (delegation.state, delegation.background) == ("completed", True)
    assert after.text == "Claude heard: and now?"


def test_two_subagents_at_once_are_told_apart(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on(
        "Both",
        Delegate("engineer", "Mend it", does="Mended."),
        Delegate("qa", "Try it", does="Works."),
        "Both are back.",
    )
    with make_claude() as claude:
        turn = claude.ask("Both").check()
    found = {d.agent: (d.prompt, d.state) for d in turn.delegations}
    assert found == {"engineer": ("Mend it", "completed"), "qa": ("Try it", "completed")}
    assert turn.text == "Both are back."


def test_an_agent_that_there_is_not_is_a_delegation_that_failed(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on("Go", Delegate("nobody", "Do it", does="never"), "There is no such agent.")
    with make_claude() as claude:
        turn = claude.ask("Go").check()
    assert [d.state for d in turn.delegations] in (["failed"], ["rejected"])


def test_a_session_without_background_work_keeps_every_subagent_in_the_foreground(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on("Go", Delegate("qa", "Do it", does="Done.", background=True), "Back.")
    with make_claude(background=False) as claude:
        turn = claude.ask("Go").check()
    assert len(turn.results) == 1
    assert [d.background for d in turn.delegations] == [False]
