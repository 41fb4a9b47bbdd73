"""Sessions whose folder or host is gone: they can be ended, and what they were is not forgotten."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from claude_mpm.cli.doctor_sweep import sweep
from claude_mpm.journal import orphans
from claude_mpm.sessions.store import Store
from claude_mpm.testing import Call, Stall
from claude_mpm.testing.faults import kill
from claude_mpm.testing.subject import until
from command import Command, wait_until_gone

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.testing import ScriptedModel


def detached(command: Command, *words: str, session: str) -> str:
    return command(
        "run", "--quiet", "--detach", "--no-framework", "--session", session, *words
    ).stdout.strip()


@pytest.fixture
def without_folder(command: Command) -> str:
    """A session that runs, in a folder that was removed."""
    folder = Path("work")
    folder.mkdir()
    session = detached(command, "--cwd", str(folder), "hello", session="gone")
    command("wait", session)
    folder.rmdir()
    return session


def test_a_session_whose_folder_is_gone_is_sent_to_followed_and_stopped(
    command: Command, without_folder: str
) -> None:
    assert command("send", without_folder, "--wait", "more").stdout == "Claude heard: more\n"
    command("send", without_folder, "and more")
    command("wait", without_folder)
    assert "Claude heard: and more" in command("attach", without_folder).stdout
    stopped = command("stop", without_folder)
    assert stopped.stdout.startswith("gone")
    assert command.json("show", without_folder)["state"] == "ended"
    refused = command("resume", without_folder, "go on", status=1)
    assert "there is no folder" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_stop_all_ends_one_whose_folder_is_gone_with_the_others(
    command: Command, without_folder: str
) -> None:
    other = detached(command, "hello", session="other")
    rows = json.loads(command("stop", "--all", "--json").stdout)
    assert {row["session"] for row in rows if row["ended"]} == {without_folder, other}


def test_a_question_is_answered_though_the_folder_is_gone(
    command: Command, model: ScriptedModel
) -> None:
    folder = Path("work")
    folder.mkdir()
    model.on("go", Call("Bash", command="touch made"), "Answered.")
    session = detached(command, "--cwd", str(folder), "--permissions", "ask", "go", session="asks")
    follower = command.start("attach", session)
    until(lambda: command.json("questions", session), "Claude never asks")
    assert follower.poll() is None
    folder.rmdir()
    command("answer", session, "deny")
    assert "Answered." in follower.communicate(timeout=60)[0]


def test_one_that_cannot_be_stopped_keeps_no_other_up(command: Command) -> None:
    for session in ("first", "middle", "last"):
        detached(command, "hello", session=session)
    meta = Store(str(command.state)).folder("middle").meta_file
    whole = meta.read_text()
    meta.write_text(whole.replace('"orchestrator": "local"', '"orchestrator": "nosuch"'))
    done = command("stop", "--all", status=1)
    assert "session middle: " in done.stderr
    assert "nosuch" in done.stderr
    assert "Traceback" not in done.stderr
    meta.write_text(whole)
    command("wait", "middle")
    states = {row["session"]: row["state"] for row in command.json("ps")}
    assert states == {"first": "ended", "middle": "idle", "last": "ended"}


def kill_host(folder: SessionFolder) -> None:
    """Kill the host, its helpers and Claude at once, as the end of a control group does."""
    host, _ = folder.pids() or (0, 0)
    marked = orphans.marked()[folder.path]
    assert host in marked
    pids = [host, *marked]  # the host first: it notes how a Claude ends
    kill(pids)
    wait_until_gone(pids)


def test_after_a_sweep_a_lost_session_is_over_and_its_cut_prompt_is_gone_on_with(
    command: Command, model: ScriptedModel
) -> None:
    model.on("cut", "half", Stall(), "whole")
    session = detached(command, "cut", session="swept")
    model.wait_for_stall()
    kill_host(command.session())
    assert command.json("ps")[0]["state"] == "lost"
    command("doctor", "--sweep")
    assert command.json("ps")[0]["state"] not in ("working", "starting", "idle")
    assert command("wait", session, status=1).stderr.startswith("lost")
    stopped = command("stop", session)
    assert "ended already" in stopped.stdout
    assert "no session runs" in command("stop", "--all").stderr
    model.release()
    model.on("go on", "It went on.")
    resumed = command.start("resume", session, "go on")

    def has_ended() -> bool:
        model.release()
        return resumed.poll() is not None

    until(has_ended, "the cut prompt is not gone on with")
    out, err = resumed.communicate(timeout=60)
    assert "1 earlier prompts come first" in err
    assert out.endswith("It went on.\n")
    turns = command.json("show", session)["turns"]
    assert [turn["outcome"] for turn in turns] == ["completed", "completed"]


def test_a_sweep_leaves_the_word_of_a_host_that_ended(command: Command) -> None:
    command("run", "--session", "done", "hello")
    with closing(Store(str(command.state))) as store:
        sweep(store)
    assert command.json("show", "done")["exit_status"] == 0


def test_a_start_that_was_killed_before_its_host_is_over_after_a_sweep(command: Command) -> None:
    command("run", "--session", "early", "hello")
    folder = command.session()
    folder.prepare_host()  # and here its controller was killed
    command("doctor", "--sweep")
    assert command.json("ps")[0]["state"] == "ended"


def test_what_is_over_is_said_in_plain_words(command: Command, model: ScriptedModel) -> None:
    model.on("cut", "half", Stall())
    session = detached(command, "cut", session="lost")
    model.wait_for_stall()
    kill_host(command.session())
    assert "session lost was lost; claude-mpm resume" in command("attach", session, status=1).stderr
    assert "was lost already" in command("stop", session).stdout
