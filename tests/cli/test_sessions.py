"""The commands over sessions, on the real Claude Code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from claude_mpm.orchestration.factory import create_orchestrator
from claude_mpm.testing import Call, Fail, Stall
from command import SECONDS, Command

if TYPE_CHECKING:
    from claude_mpm.testing import ScriptedModel


def prompts_of(model: ScriptedModel) -> list[str]:
    return [request.prompt for request in model.requests if request.prompt]


def test_without_a_session_each_command_says_so(command: Command) -> None:
    assert "no session yet" in command("ps").stderr
    assert command.json("ps") == []
    for name in ("attach", "logs", "show", "resume", "stop", "wait"):
        done = command(name, status=2)
        assert done.stderr.startswith("claude-mpm: there is no session yet"), name
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["attach", "logs", "show", "resume", "send", "stop", "wait"])
def test_an_unknown_session_is_one_line_and_status_2(command: Command, name: str) -> None:
    words = [name, "nosuch", *(["hello"] if name == "send" else [])]
    done = command(*words, status=2)
    assert done.stderr.startswith("claude-mpm: no session 'nosuch' here")
    assert done.stderr.count("\n") == 1


def test_ps_lists_what_runs_and_the_few_that_ended_last(command: Command) -> None:
    for number in range(6):
        command("run", f"prompt {number}", "--session", f"ended-{number}", "--no-framework")
    running = command("run", "TODO: this", "--detach").stdout.strip()
    command("wait", running)
    rows = command.json("ps")
    assert [row["state"] for row in rows] == ["idle"] + ["ended"] * 5
    assert rows[0]["session"] == running
    assert (rows[0]["turns"], rows[0]["tickets"], rows[0]["prompt"]) == (1, 1, "TODO: this")
    assert rows[0]["cost_usd"] > 0
    assert Path(rows[0]["cwd"]) == Path.cwd()
    assert len(command.json("ps", "--all")) == 7
    head, first, *_ = command("ps").stdout.splitlines()
    assert head.split("\t")[:3] == ["session", "state", "turns"]
    assert first.split("\t")[:3] == [running[:8], "idle", "1"]


def test_a_damaged_session_is_named_and_the_others_are_listed(command: Command) -> None:
    command("run", "hello", "--session", "good")
    command("run", "hello", "--session", "bad")
    (command.state / "sessions" / "bad" / "meta.json").write_text("{oops")
    done = command("ps")
    assert "good" in done.stdout
    assert "session bad is left out" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "not a session's record" in command("show", "bad", status=1).stderr


def test_show_tells_all_that_is_known(command: Command, model: ScriptedModel) -> None:
    model.on("work", "TODO: write it down\nBUG: it leaks")
    command("run", "work", "--session", "shown", "--max-turns", "7")
    record = command.json("show", "sho")
    assert (record["session"], record["state"], record["exit_status"]) == ("shown", "ended", 0)
    assert record["options"]["max_turns"] == 7
    assert record["starts"][0]["framework_source"] == "packaged default"
    assert len(record["starts"][0]["framework_sha256"]) == 64
    (turn,) = record["turns"]
    assert (turn["outcome"], turn["framework"]) == (
        "completed",
        record["starts"][0]["framework_sha256"],
    )
    assert turn["cost_usd"] == record["cost_usd"] > 0
    assert [ticket["type"] for ticket in record["tickets"]] == ["task", "bug"]
    assert record["events"] == len(Path(record["journal"]).read_bytes().splitlines())
    text = command("show").stdout
    for part in ("ended with status 0", "max_turns=7", "write it down", "completed", "0 lines"):
        assert part in text


def test_logs_prints_the_text_or_the_journal_as_it_is(command: Command) -> None:
    command("run", "hello")
    assert command("logs").stdout == "Claude heard: hello\n"
    written = command.session().journal.path.read_bytes()
    journal = written.decode()
    assert command("logs", "--events").stdout == journal
    since = str(written.index(b"\n") + 1)
    rest = journal.partition("\n")[2]
    assert command("logs", "--events", "--since", since).stdout == rest
    assert json.loads(journal.splitlines()[0])["type"] == "control_response"


def test_a_detached_session_is_given_prompts_and_runs_until_it_is_stopped(
    command: Command, model: ScriptedModel
) -> None:
    model.on("slowly", Stall(), "done")
    started = command.json("run", "--detach", "slowly")
    assert started["state"] in ("queued", "started")
    session = started["session"]
    model.wait_for_stall()
    assert command.json("ps")[0]["state"] == "working"
    sent = command("send", session, "and this").stdout.split()
    assert sent[1] == "queued"
    model.release()
    assert command("wait", session).returncode == 0
    answered = [prompt for turn in command.json("show")["turns"] for prompt in turn["prompts"]]
    assert answered == [started["uuid"], sent[0]]
    assert command("send", session, "third", "--wait").stdout == "Claude heard: third\n"
    assert command.json("ps")[0]["state"] == "idle"
    (stopped,) = command.json("stop", session)
    assert (stopped["was"], stopped["ended"], stopped["exit_status"]) == ("idle", True, 0)
    ended = command("send", session, "too late", status=1)
    assert "has ended" in ended.stderr
    assert prompts_of(model) == ["slowly", "and this", "third"]


def test_send_waits_with_its_turn_for_the_one_that_runs(
    command: Command, model: ScriptedModel
) -> None:
    model.on("slowly", "first", Call("Bash", command="echo working"), Stall(), "last")
    session = command("run", "--detach", "slowly").stdout.strip()
    model.wait_for_stall()
    sending = command.start("send", session, "after it", "--wait")
    attached = command.start("attach")
    assert attached.stdout is not None
    assert attached.stdout.readline() == "first\n"
    model.release()
    assert sending.communicate(timeout=SECONDS)[0] == "Claude heard: after it\n"
    assert len(command.json("show")["turns"]) == 2


def test_wait_tells_how_the_last_turn_came_out(command: Command, model: ScriptedModel) -> None:
    model.on("rude", Fail(400, message="Please be kind."))
    model.on("slowly", Stall(), "done")
    session = command("run", "--detach", "rude").stdout.strip()
    assert "Please be kind." in command("wait", session, status=1).stderr
    command("send", session, "slowly")
    model.wait_for_stall()
    late = command("wait", session, "--timeout", "0.2", status=124)
    assert "the time is up" in late.stderr
    model.release()
    assert command("wait", session).returncode == 0
    command("stop", session)
    assert command("wait", session).returncode == 0


def test_a_turn_that_is_stopped_was_interrupted(command: Command, model: ScriptedModel) -> None:
    model.on("slowly", Stall(), "never said")
    session = command("run", "--detach", "slowly").stdout.strip()
    model.wait_for_stall()
    assert "Claude ended with status" in command("stop", "--all").stdout
    command("wait", session, status=130)
    assert command("attach", session, status=130).stdout == ""


def test_resume_uses_what_the_session_was_started_with_and_reads_the_framework_again(
    command: Command, model: ScriptedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("framework.md").write_text("Follow RULE-ONE.")
    Path("agents").mkdir()
    Path("agents/tester.md").write_text("---\nname: tester\ndescription: Tests.\n---\nTest it.\n")
    project = Path.cwd()
    given = ("--framework", "framework.md", "--agents-dir", "agents", "--model", "claude-haiku-4-5")
    command("run", "one", *given)
    Path("framework.md").write_text("Follow RULE-TWO.")
    monkeypatch.chdir(tmp_path)
    session = command.session().path.name
    command("resume", session, "two")
    first, second = model.wait_for_request("one"), model.wait_for_request("two")
    assert "RULE-ONE" in first.system
    assert "RULE-TWO" in second.system
    assert "RULE-ONE" not in second.system
    assert first.model == second.model
    assert str(project) in second.text
    starts = command.json("show")["starts"]
    assert [start["agents_source"] for start in starts] == [str(project / "agents")] * 2
    command("resume", session, "three", "--model", "claude-sonnet-4-5")
    assert model.wait_for_request("three").model == "claude-sonnet-4-5"


def test_resume_of_a_session_that_was_stopped_before_its_first_prompt_starts_it(
    command: Command, model: ScriptedModel, claude_path: str
) -> None:
    options = {"state_dir": str(command.state), "environ": command.environ}
    with create_orchestrator("local", session_id="first", claude_path=claude_path, **options):
        pass
    assert command("resume", "first", "now").stdout == "Claude heard: now\n"
    assert prompts_of(model) == ["now"]


def test_resume_without_a_prompt_and_a_terminal_has_nothing_to_do(command: Command) -> None:
    command("run", "hello")
    done = command("resume", status=2)
    assert "there is no prompt" in done.stderr
    assert command("resume", command.session().path.name, "-", input="piped").stdout == (
        "Claude heard: piped\n"
    )
