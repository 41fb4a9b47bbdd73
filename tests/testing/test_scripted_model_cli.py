"""The scripted model and the real Claude Code: what only the two together can show."""

from __future__ import annotations

import contextlib
import json
import subprocess
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from claude_mpm.claude_binary import find_claude
from claude_mpm.testing import (
    Call,
    Cut,
    Delegate,
    Fail,
    Item,
    Say,
    ScriptedModel,
    Stall,
    Stop,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Line: TypeAlias = dict[str, Any]

STREAM = ("--output-format", "stream-json", "--verbose")
WAIT = 60.0


def run(
    model: ScriptedModel, home: Path, prompt: str, *flags: str, **environment: str
) -> list[Line]:
    """Run `claude -p` once and return the lines that it wrote."""
    argv = [str(find_claude()), "-p", prompt, *STREAM, *flags]
    done = subprocess.run(
        argv,
        env=model.environment(home, **environment),
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=WAIT,
        check=False,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


class Conversation:
    """One `claude` that takes its prompts from standard input."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def send(self, line: Line) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()

    def prompt(self, text: str) -> None:
        message = {"role": "user", "content": text}
        self.send({"type": "user", "message": message, "parent_tool_use_id": None})

    def result(self) -> Line:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            line: Line = json.loads(text)
            if line["type"] == "result":
                return line
        raise AssertionError("claude ended without a result")

    def ask(self, text: str) -> str:
        self.prompt(text)
        return str(self.result()["result"])


@contextlib.contextmanager
def conversation(
    model: ScriptedModel, home: Path, *flags: str, **environment: str
) -> Iterator[Conversation]:
    argv = [str(find_claude()), "-p", "--input-format", "stream-json", *STREAM, *flags]
    pipe = subprocess.PIPE
    environ = model.environment(home, **environment)
    with subprocess.Popen(argv, env=environ, cwd=home, stdin=pipe, stdout=pipe, text=True) as each:
        try:
            yield Conversation(each)
            each.communicate(timeout=WAIT)
        finally:
            each.kill()


def texts(lines: list[Line]) -> list[str]:
    blocks = [
        b for line in lines if line["type"] == "assistant" for b in line["message"]["content"]
    ]
    return [block["text"] for block in blocks if block["type"] == "text"]


def result(lines: list[Line]) -> Line:
    return next(line for line in reversed(lines) if line["type"] == "result")


def test_text_streams_in_the_chunks_of_the_script(tmp_path: Path) -> None:
    with ScriptedModel(Say("Hello from the script.", chunk=6, delay=0.001)) as model:
        lines = run(model, tmp_path, "hi", "--include-partial-messages")
    deltas = [e["event"].get("delta", {}) for e in lines if e["type"] == "stream_event"]
    assert [d["text"] for d in deltas if "text" in d] == ["Hello ", "from t", "he scr", "ipt."]
    assert result(lines)["result"] == "Hello from the script."


def test_a_tool_call_is_run_and_the_script_goes_on(tmp_path: Path) -> None:
    script: list[Item] = [
        "Let me look.",
        Call("Bash", command="echo one"),
        Call("Bash", command="echo two"),
        # Calls next to each other run in parallel: their results come in any order.
        lambda request: " and ".join(sorted(each.text for each in request.tool_results)),
    ]
    with ScriptedModel(script) as model:
        lines = run(model, tmp_path, "go")
    assert texts(lines) == ["Let me look.", "one and two"]


def test_foreground_subagents_play_their_own_scripts(tmp_path: Path) -> None:
    script: list[Item] = [
        "I delegate.",
        Delegate("general-purpose", "Fix it", does=[Call("Bash", command="echo fixed"), "Fixed."]),
        Delegate("general-purpose", "Test it", does="All green."),
        lambda r: "Both." if "Fixed." in r.text and "All green." in r.text else "Something lacks.",
    ]
    with ScriptedModel(script) as model:
        lines = run(model, tmp_path, "go")
        assert [r.prompt for r in model.requests if r.is_subagent and r.prompt] in (
            ["Fix it", "Test it"],
            ["Test it", "Fix it"],
        )
    assert texts(lines) == ["I delegate.", "Both."]


def test_a_background_subagent_wakes_the_main_conversation(tmp_path: Path) -> None:
    script: list[Item] = [
        Delegate(
            "general-purpose",
            "Search",
            does=[Stall(), "Found."],
            background=True,
            when_done="The search is done.",
        ),
        "It searches.",
    ]
    with ScriptedModel(script) as model, conversation(model, tmp_path) as claude:
        assert claude.ask("go") == "It searches."
        model.wait_for_stall()
        model.release()
        assert claude.result()["result"] == "The search is done."
        assert len(model.wait_for_request(lambda r: bool(r.notifications)).notifications) == 1


def test_several_turns_with_failures_between_stay_in_step(tmp_path: Path) -> None:
    with (
        ScriptedModel("one", Fail(400), [Fail(500, times=1), "three"], "four") as model,
        conversation(model, tmp_path) as claude,
    ):
        assert claude.ask("first") == "one"
        assert "400" in claude.ask("second")
        assert claude.ask("third") == "three"
        assert claude.ask("fourth") == "four"


@pytest.mark.parametrize("status", [400, 401, 429, 500, 529])
def test_an_error_of_the_api_is_reported(tmp_path: Path, status: int) -> None:
    with ScriptedModel(Fail(status)) as model:
        end = result(run(model, tmp_path, "go", CLAUDE_CODE_MAX_RETRIES="0"))
    assert end["is_error"]
    assert end["terminal_reason"] == "api_error"
    assert end["api_error_status"] == status


def test_a_rate_limit_is_retried(tmp_path: Path) -> None:
    with ScriptedModel([Fail(429, times=1, retry_after=0), "Through."]) as model:
        lines = run(model, tmp_path, "go")
    retries = [line for line in lines if line.get("subtype") == "api_retry"]
    assert [retry["error_status"] for retry in retries] == [429]
    assert result(lines)["result"] == "Through."


def test_a_stream_that_is_cut_once_is_asked_for_again(tmp_path: Path) -> None:
    with ScriptedModel(["An answer.", Cut()]) as model:
        lines = run(model, tmp_path, "go")
        assert [request.stream for request in model.requests] == [True, True]
    assert sum(line.get("subtype") == "api_retry" for line in lines) == 1
    assert texts(lines) == ["An answer."]


def test_streams_that_are_always_cut_end_in_one_request_without_a_stream(tmp_path: Path) -> None:
    with ScriptedModel([Cut(times=None), "Answered."]) as model:
        lines = run(model, tmp_path, "go", CLAUDE_CODE_MAX_RETRIES="1")
        assert [request.stream for request in model.requests] == [True, True, False]
    assert result(lines)["result"] == "Answered."


def test_a_stalled_turn_can_be_interrupted(tmp_path: Path) -> None:
    with (
        ScriptedModel(["Half", Stall(), " never"], "next") as model,
        conversation(model, tmp_path) as claude,
    ):
        claude.prompt("go")
        model.wait_for_stall()
        claude.send(
            {"type": "control_request", "request_id": "1", "request": {"subtype": "interrupt"}}
        )
        assert claude.result()["terminal_reason"] == "aborted_streaming"
        assert claude.ask("and now?") == "next"


def test_a_stalled_turn_goes_on_when_released(tmp_path: Path) -> None:
    with (
        ScriptedModel(["Half", Stall(), " and half."]) as model,
        conversation(model, tmp_path) as claude,
    ):
        claude.prompt("go")
        model.wait_for_stall()
        model.release()
        assert claude.result()["result"] == "Half and half."


def test_a_message_cut_off_by_the_token_limit_goes_on(tmp_path: Path) -> None:
    with ScriptedModel(["First half", Stop("max_tokens"), "second half"], "next") as model:
        assert texts(run(model, tmp_path, "go")) == ["First half", "second half"]


def test_the_cost_comes_from_the_scripted_usage(tmp_path: Path) -> None:
    def cost(tokens: int) -> float:
        with ScriptedModel([Usage(output_tokens=tokens), "x"]) as model:
            return float(result(run(model, tmp_path, "go"))["total_cost_usd"])

    assert 0 < cost(100) < cost(100_000)


def test_a_summary_uses_up_no_turn(tmp_path: Path) -> None:
    with ScriptedModel("one", "two") as model, conversation(model, tmp_path) as claude:
        assert claude.ask("first") == "one"
        claude.ask("/compact")
        assert claude.ask("second") == "two"
        assert [request.is_side for request in model.requests] == [False, True, False]


def test_the_record_shows_what_reached_the_model(tmp_path: Path) -> None:
    framework = tmp_path / "framework.md"
    framework.write_text("You are the conductor of this test.")
    with ScriptedModel() as model:
        lines = run(model, tmp_path, "hi there", "--append-system-prompt-file", str(framework))
        request = model.wait_for_request("hi there")
    assert "You are the conductor of this test." in request.system
    assert "Bash" in request.tools
    assert request.session_id == result(lines)["session_id"]
    assert not request.is_subagent
    assert result(lines)["result"] == "Claude heard: hi there"
