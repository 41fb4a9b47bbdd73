"""`claude-mpm run`: one prompt, one turn, one exit status; with the real Claude Code."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from claude_mpm.testing import Call, Fail, Stall
from command import PROGRAM, Command

if TYPE_CHECKING:
    from claude_mpm.testing import ScriptedModel

SECONDS = 60.0


@pytest.mark.parametrize(
    ("words", "piped"),
    [
        (["run", "hello"], ""),
        (["run", "-i", "hello"], ""),
        (["run", "-"], "hello"),
        (["run"], "hello"),
        ([], "hello"),
    ],
    ids=["argument", "option", "dash", "pipe", "bare command"],
)
def test_the_prompt_comes_from_anywhere(command: Command, words: list[str], piped: str) -> None:
    done = command(*words, input=piped)
    assert done.stdout == "Claude heard: hello\n"
    assert "completed" in done.stderr


def test_all_that_is_piped_is_one_prompt(command: Command, model: ScriptedModel) -> None:
    command(input="line one\nline two\n")
    assert model.wait_for_request("line one").prompt == "line one\nline two\n"


def test_closed_standard_streams_are_no_traceback(command: Command) -> None:
    def shell(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", line, PROGRAM], env=command.environ, capture_output=True, text=True,
            timeout=SECONDS, check=False,
        )  # fmt: skip

    assert shell('"$0" run hello <&-').stdout == "Claude heard: hello\n"
    empty = shell('"$0" <&-')
    assert empty.returncode == 2
    assert empty.stderr == "claude-mpm: the prompt is empty; say what Claude is to do\n"
    silent = shell('"$0" run hello >&-')
    assert silent.returncode == 0
    assert "Traceback" not in silent.stderr


def test_only_the_answer_goes_to_standard_output(command: Command, model: ScriptedModel) -> None:
    model.on("go", Call("Bash", command="echo noise"), "The answer.\nBUG: it is too quiet")
    done = command("run", "go")
    assert done.stdout == "The answer.\nBUG: it is too quiet\n"
    assert "Bash echo noise" in done.stderr
    assert "it is too quiet" in done.stderr
    assert command("run", "go", "--quiet").stderr == ""


def test_json_has_all_that_came_of_the_turn(command: Command, model: ScriptedModel) -> None:
    model.on("go", "The answer.\nBUG: it is too quiet")
    turn = json.loads(command("run", "go", "--json").stdout)
    assert turn["text"] == "The answer.\nBUG: it is too quiet"
    assert turn["outcome"] == "completed"
    assert turn["cost_usd"] > 0
    assert [ticket["title"] for ticket in turn["tickets"]] == ["it is too quiet"]
    without = json.loads(command("run", "go", "--json", "--no-tickets").stdout)
    assert without["tickets"] == []


def test_an_error_that_claude_reports_is_status_1(command: Command, model: ScriptedModel) -> None:
    model.on("rude", Fail(400, message="Please be kind."))
    done = command("run", "rude", status=1)
    assert done.stdout == ""
    assert "failed" in done.stderr
    assert "Please be kind." in done.stderr


def test_a_background_command_that_ends_with_the_session_is_no_success(
    command: Command, model: ScriptedModel
) -> None:
    go_on = Call("Bash", command="tail -f /dev/null", run_in_background=True)
    model.on("serve", go_on, "It serves.")
    done = command("run", "--allowed-tools", "Bash", "serve", status=1)
    assert done.stdout == "It serves.\n"
    assert "incomplete (1 background commands ended with the session)" in done.stderr


def test_when_the_time_is_up_the_status_is_124(command: Command, model: ScriptedModel) -> None:
    model.on("endless", Stall(), "never said")
    done = command("run", "endless", "--timeout", "4", status=124)
    assert "timed out" in done.stderr
    assert "never said" not in done.stdout
    (turn,) = json.loads(command("show", "--json").stdout)["turns"]
    assert turn["outcome"] == "timed out"  # which no record of Claude's says


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "ended"]
)
def test_a_signal_stops_claude_and_is_told(
    command: Command, model: ScriptedModel, signum: int, status: int
) -> None:
    model.on("slow", "The beginning.", Stall(), "never said")
    process = command.start("run", "slow")
    model.wait_for_stall()
    process.send_signal(signum)
    process.communicate(timeout=SECONDS)
    assert process.returncode == status
    (session,) = command.json("ps", "--all")
    assert session["state"] == "ended"


def test_what_stands_behind_two_dashes_is_for_claude(
    command: Command, model: ScriptedModel
) -> None:
    command("run", "hello", "--", "--append-system-prompt", "A MARK OF OURS")
    assert "A MARK OF OURS" in model.wait_for_request("hello").system


def test_flags_stand_before_and_behind_the_command(command: Command, model: ScriptedModel) -> None:
    command("--no-framework", "run", "hello", "--model", "claude-haiku-4-5")
    request = model.wait_for_request("hello")
    assert request.model == "claude-haiku-4-5"
    assert "Project manager" not in request.system


def test_a_limit_of_model_calls_is_a_failure_that_says_so(
    command: Command, model: ScriptedModel
) -> None:
    model.on("go", Call("Bash", command="echo x"), "never said")
    done = command("run", "go", "--max-turns", "1", status=1)
    assert "the limit of model turns was reached" in done.stderr
