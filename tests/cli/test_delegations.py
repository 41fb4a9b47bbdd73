"""`claude-mpm delegations`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from calls import agent_call, agent_result, call, journal, make_session
from claude_mpm.sessions.store import Store

if TYPE_CHECKING:
    from calls import Ended

    Capture = pytest.CaptureFixture[str]


@pytest.fixture
def sessions() -> None:
    done = [agent_call("toolu_a1", "qa", "Check"), agent_result("toolu_a1", "all | fine")]
    make_session("first", [*done, agent_call("toolu_a2", "engineer", "Mend")])
    make_session("second", [agent_call("toolu_a1", "researcher", "Read")])


def states(ended: Ended) -> list[tuple[str, str]]:
    return sorted((row[2], row[1]) for row in ended.rows)


@pytest.mark.usefixtures("sessions")
def test_one_that_ran_when_its_session_ended_is_lost(capsys: Capture) -> None:
    everything = [("engineer", "lost"), ("qa", "completed"), ("researcher", "lost")]
    assert states(call(capsys, "delegations")) == everything
    assert states(call(capsys, "delegations", "--state", "completed")) == [everything[1]]
    assert states(call(capsys, "delegations", "--session", "second")) == [everything[2]]
    assert states(call(capsys, "delegations", "--state", "running")) == []


@pytest.mark.usefixtures("sessions")
def test_show_tells_all_that_is_known(capsys: Capture) -> None:
    out = call(capsys, "delegations", "show", "toolu_a1", "--session", "first").out
    assert "state: completed" in out
    assert "prompt: Check, please" in out
    assert "result: all | fine" in out
    assert "duration: 7.0" in out


@pytest.mark.usefixtures("sessions")
def test_the_same_key_in_two_sessions_is_told_apart_by_session(capsys: Capture) -> None:
    ended = call(capsys, "delegations", "show", "toolu_a1")
    assert ended.status == 2
    assert "give more, or --session" in ended.err


@pytest.mark.usefixtures("sessions")
def test_a_lost_one_can_be_closed_and_stays_so(capsys: Capture) -> None:
    assert call(capsys, "delegations", "close", "toolu_a2").status == 0
    assert call(capsys, "delegations", "close", "toolu_a2").status == 0, "twice is fine"
    for _ in range(2):
        closed = call(capsys, "delegations", "--state", "closed")
        assert states(closed) == [("engineer", "closed")]
        assert call(capsys, "doctor", "--rebuild-index").status == 0


@pytest.mark.usefixtures("sessions")
def test_one_that_has_ended_cannot_be_closed(capsys: Capture) -> None:
    ended = call(capsys, "delegations", "close", "toolu_a1", "--session", "first")
    assert ended.status == 2
    assert "has ended already (completed)" in ended.err


def test_a_closed_one_that_ends_after_all_has_ended(capsys: Capture) -> None:
    folder = make_session("mine", [agent_call("toolu_1", "qa", "Check")])
    call(capsys, "delegations", "close", "toolu_1")
    with Store().folder("mine").journal.path.open("ab") as file:
        file.write(journal([agent_result("toolu_1", "done")]))
    assert call(capsys, "doctor", "--rebuild-index").status == 0
    assert states(call(capsys, "delegations")) == [("qa", "completed")]
    assert folder.decisions.exists()


@pytest.mark.usefixtures("sessions")
def test_export(capsys: Capture) -> None:
    rows = call(capsys, "delegations", "export", "--format", "json").json
    assert {row["key"] for row in rows} == {"toolu_a1", "toolu_a2"}
    lines = call(capsys, "delegations", "export", "--format", "markdown").out.splitlines()
    assert len(lines) == 5
    one = call(capsys, "delegations", "export", "--state", "completed", "--format", "csv").out
    assert "all | fine" in one
