"""Whoever dies, each prompt is run once, or it is said that it was not."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import msgspec
import pytest

from claude_mpm import Outcome
from claude_mpm.errors import NotOwner, UsageError
from claude_mpm.journal import orphans
from claude_mpm.journal.inbox import Inbox
from claude_mpm.journal.lease import Owner, SessionLock
from claude_mpm.sessions.delivery import Fate
from claude_mpm.sessions.status import prompt_fates
from claude_mpm.testing import Call, Stall
from claude_mpm.testing.faults import Dice, kill, tear
from claude_mpm.testing.residue import Remains
from claude_mpm.testing.subject import until
from claude_mpm.wire.stream_json import StreamJson

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.testing import ScriptedModel
    from conftest import MakeClaude, Orchestrator

SECONDS = 60.0


def folder_of(claude: Orchestrator) -> SessionFolder:
    folder: SessionFolder = claude.store.folder(claude.session_id)
    return folder


def pids_of(claude: Orchestrator) -> tuple[int, int]:
    pids = folder_of(claude).pids()
    assert pids is not None
    return pids


@pytest.fixture
def slow(model: ScriptedModel) -> ScriptedModel:
    """A model whose turn stands still after its first command."""
    model.on("slowly", "first", Call("Bash", command="echo ran >>ran"), Stall(), "last")
    return model


def end_of(turn: Orchestrator, model: ScriptedModel) -> Orchestrator:
    """Let the model go on, as often as it takes, until a turn is over."""

    def released() -> bool:
        model.release()
        return bool(turn.done)

    until(released, "the end of the turn")
    return turn


def stand_still(claude: Orchestrator, model: ScriptedModel, tmp_path: Path) -> Orchestrator:
    """Ask what takes long, until Claude has written down that it ran the command."""
    turn = claude.ask("slowly")
    model.wait_for_stall()
    records = tmp_path / "claude-home" / ".claude" / "projects"
    until(lambda: any(b"tool_result" in f.read_bytes() for f in records.rglob("*.jsonl")), "record")
    return turn


def test_a_turn_that_was_cut_is_lost_and_goes_on_when_the_session_is_taken_up(
    make_claude: MakeClaude, slow: ScriptedModel, tmp_path: Path
) -> None:
    with make_claude(session_id="cut", claude_args=["--allowedTools=Bash"]) as first:
        turn = stand_still(first, slow, tmp_path)
        kill([pids_of(first)[1]])
        assert turn.verdict.outcome is Outcome.LOST
        folder, store = folder_of(first), first.store
        assert [fate for _, fate in prompt_fates(folder, store.index)] == [Fate.CUT]
    with make_claude(session_id="cut", resume=True) as second:
        (again,) = second.turns_before
        assert (again.prompt, again.uuid) == ("slowly", turn.uuid)
        assert end_of(again, slow).text == "first\nlast"
        assert again.verdict.ok
        assert any("taken up by a fresh Claude" in line for line in again.verdict.evidence)
        assert second.ask("next").text == "Claude heard: next"
        fates = [fate for _, fate in prompt_fates(folder_of(second), second.store.index)]
        assert fates == [Fate.FINISHED, Fate.FINISHED]
    with make_claude(session_id="cut", resume=True) as third:
        assert third.turns_before == []


def test_a_turn_of_which_claude_remembers_nothing_is_run_from_its_beginning(
    make_claude: MakeClaude, model: ScriptedModel, tmp_path: Path
) -> None:
    model.on("early", Stall(), "all of it")
    with make_claude(session_id="early") as first:
        turn = first.ask("early")
        model.wait_for_request("early")
        kill([pids_of(first)[1]])
        assert turn.verdict.outcome is Outcome.LOST
    for record in tmp_path.glob("**/projects/*/*.jsonl"):  # where it was quick to write one
        record.unlink()
    with make_claude(session_id="early", resume=True) as second:
        (again,) = second.turns_before
        assert end_of(again, model).verdict.ok
        assert again.text == "all of it"
        assert len(again.results) == 1


def test_a_turn_goes_on_by_itself_where_that_was_asked_for(
    make_claude: MakeClaude, slow: ScriptedModel, tmp_path: Path
) -> None:
    with make_claude(resume_lost=1, claude_args=["--allowedTools=Bash"]) as claude:
        turn = stand_still(claude, slow, tmp_path)
        before = claude.process
        kill([pids_of(claude)[1]])
        assert end_of(turn, slow).text == "first\nlast"
        assert turn.verdict.ok
        assert turn.known.resumed == 1
        assert claude.process is not before
        assert claude.running
        assert claude.ask("next").text == "Claude heard: next"
        assert len(folder_of(claude).read_meta().starts) == 2
    assert Remains(folder_of(claude)).found() == []


def test_it_goes_on_only_as_often_as_was_asked_for(
    make_claude: MakeClaude, slow: ScriptedModel, tmp_path: Path
) -> None:
    with make_claude(resume_lost=1, claude_args=["--allowedTools=Bash"]) as claude:
        turn = stand_still(claude, slow, tmp_path)
        first = pids_of(claude)[1]
        kill([first])
        until(lambda: (folder_of(claude).pids() or (0, first))[1] != first, "a fresh Claude")
        kill([pids_of(claude)[1]])
        assert turn.verdict.outcome is Outcome.LOST
        assert turn.known.resumed == 1
        assert len(folder_of(claude).read_meta().starts) == 2


@pytest.mark.parametrize("with_helpers", [False, True], ids=["the shell alone", "all of the host"])
def test_where_the_host_was_killed_a_stop_is_quick_and_leaves_nothing(
    make_claude: MakeClaude, slow: ScriptedModel, tmp_path: Path, with_helpers: bool
) -> None:
    # No step of the stop waits out its time.
    claude = make_claude(claude_args=["--allowedTools=Bash"], stop_timeout=1e4)
    claude.start_or_raise()
    turn = stand_still(claude, slow, tmp_path)
    folder = folder_of(claude)
    host, pid = pids_of(claude)
    kill(
        [each for each in orphans.marked()[folder.path] if each != pid] if with_helpers else [host]
    )
    assert orphans.belongs(pid, folder.path), "Claude lives on"
    claude.stop()
    assert folder.path not in orphans.marked()
    assert Remains(folder).found() == []
    assert turn.done
    assert folder.exit_status() == 128 + signal.SIGKILL
    assert not list((tmp_path / "claude-home" / "tmp").glob("mpm.*"))


def test_where_host_and_claude_were_killed_the_turn_ends_as_lost(
    make_claude: MakeClaude, slow: ScriptedModel, tmp_path: Path
) -> None:
    with make_claude(claude_args=["--allowedTools=Bash"]) as claude:
        turn = stand_still(claude, slow, tmp_path)
        kill(pids_of(claude))
        assert turn.wait(SECONDS).verdict.outcome is Outcome.LOST
    assert Remains(folder_of(claude)).found() == []


def test_whoever_lost_the_session_gives_claude_no_prompt_again(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    with make_claude(session_id="taken") as first:
        first.ask("hello").check()
    folder = folder_of(first)
    Inbox(folder).put(StreamJson().prompt("left over", "11111111-2222-4333-8444-555555555555"))
    second = make_claude(session_id="taken", resume=True)
    third = Owner(number=99, host="another-machine", pid=1, at=1.0)
    ownership = second._live.ownership
    assert ownership.claim()
    folder.write(folder.owner, msgspec.json.encode(third))
    assert not second.start()
    assert isinstance(second.error, NotOwner)
    assert "1@another-machine" in str(second.error)
    assert [request.prompt for request in model.requests if request.prompt] == ["hello"]


def test_whoever_loses_the_session_while_claude_runs_gives_it_nothing_more(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    with make_claude() as claude:
        claude.ask("hello").check()
        third = Owner(number=99, host="another-machine", pid=1, at=1.0)
        folder = folder_of(claude)
        folder.write(folder.owner, msgspec.json.encode(third))
        turn = claude.ask("too late")
        assert turn.verdict.outcome is Outcome.LOST
        assert "1@another-machine" in turn.verdict.reason
    assert [request.prompt for request in model.requests if request.prompt] == ["hello"]


def test_a_session_that_is_being_started_names_its_owner(make_claude: MakeClaude) -> None:
    with make_claude(session_id="held") as first:
        first.ask("hello").check()
        assert first.owner is not None
        assert first.owner.pid == os.getpid()
    lock = SessionLock(folder_of(first))
    second = make_claude(session_id="held", resume=True)
    assert not second.start()
    assert isinstance(second.error, NotOwner)
    assert f"{os.getpid()}@" in str(second.error)
    lock.release()


def test_what_a_power_cut_tore_is_set_apart_and_the_session_goes_on(
    make_claude: MakeClaude,
) -> None:
    with make_claude(session_id="torn") as first:
        first.ask("hello").check()
    folder = folder_of(first)
    tear(folder.journal.path, Dice(3))
    with make_claude(session_id="torn", resume=True) as second:
        assert second.ask("next").text == "Claude heard: next"
        counted = second.store.index.position("torn")
    assert counted.not_json == 1
    assert all(line.startswith(b"{") for line in folder.journal.path.read_bytes().splitlines())
    store = second.store
    store.index.forget("torn")
    store.catch_up(folder)
    again = store.index.position("torn")
    assert (again.not_json, again.turns) == (1, counted.turns)
    store.close()


@pytest.mark.parametrize("option", [{"durability": "always"}, {"on_stall": "hope"}])
def test_a_choice_that_there_is_not_is_named(
    make_claude: MakeClaude, option: dict[str, str]
) -> None:
    (name,) = option
    with pytest.raises(UsageError, match=f"{name} is one of"):
        make_claude(**option)
