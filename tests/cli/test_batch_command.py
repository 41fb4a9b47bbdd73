"""`claude-mpm batch`, as its users call it."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from calls import call
from claude_mpm.errors import LaunchError
from claude_mpm.fleet.attempt import Job
from claude_mpm.fleet.ledger import BatchLock, Ledger, current_runner, find_batch
from claude_mpm.journal import orphans
from claude_mpm.sessions.store import default_state_dir
from claude_mpm.testing import Call, ScriptedModel
from claude_mpm.testing.subject import until
from command import PROGRAM, SECONDS, Command
from terminal import Terminal

if TYPE_CHECKING:
    from claude_mpm.records import Spending

Capture = pytest.CaptureFixture[str]


def tasks(*rows: dict[str, Any] | str) -> str:
    lines = ({"prompt": row} if isinstance(row, str) else row for row in rows)
    Path("tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    return "tasks.jsonl"


def until_nothing_is_left() -> None:
    """Wait until no process of our sessions is there; a host's helpers end a little after it."""
    ours = default_state_dir() / "sessions"
    until(lambda: all(path.parent != ours for path in orphans.marked()), "something of it runs on")


@pytest.mark.usefixtures("fast")
def test_a_batch_from_its_tasks_to_its_results(capsys: Capture) -> None:
    file = tasks(
        {"id": "good", "prompt": "step 1", "check": "grep -q 1 ran"},
        {"id": "bad", "prompt": "=hello", "check": "echo '=2 failed'; exit 3"},
    )
    plan = call(capsys, "batch", "run", file, "--dry-run", "--on", "local:2")
    assert [row[:2] for row in plan.rows] == [["good", "local"], ["bad", "local"]]
    assert "nothing was run" in plan.err
    assert not default_state_dir().exists()
    done = call(capsys, "batch", "run", file, "--on", "local:2", "--name", "first")
    assert done.status == 1
    lines = [line.split(" ", 1)[1] for line in done.out.splitlines()]
    assert sum("begins in local, session " in line for line in lines) == 2
    assert any(line.startswith("good passed, $0.0100, ") for line in lines)
    assert any(line.startswith("bad failed (the check ended with 3: =2 failed)") for line in lines)
    assert done.err == "1 failed, 1 passed · $0.0200 · claude-mpm batch results first\n"
    table = call(capsys, "batch", "results").out.splitlines()
    assert table[0].split()[:4] == ["task", "outcome", "check", "verdict"]
    assert table[1].split()[:3] == ["good", "passed", "0"]
    assert table[2].split()[:3] == ["bad", "failed", "3"]
    lines = call(capsys, "batch", "results", "--format", "jsonl").out.splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(row["task"], row["check"]) for row in rows] == [("good", 0), ("bad", 3)]
    assert call(capsys, "batch", "results", "--json").json == rows
    (bad,) = call(capsys, "batch", "results", "--failed", "--json").json
    assert bad["reason"] == "the check ended with 3: =2 failed"
    lines = call(capsys, "batch", "results", "--format", "csv").out.splitlines()
    cells = list(csv.DictReader(lines))
    assert [cell["task"] for cell in cells] == ["good", "bad"]
    assert "| good | passed | 0 |" in call(capsys, "batch", "results", "--format", "markdown").out
    status = call(capsys, "batch", "status", "first", "--json").json
    assert (status["state"], status["tasks"], status["passed"]) == ("done", 2, 1)
    assert "first: done" in call(capsys, "batch", "status").out
    (listed,) = call(capsys, "batch").rows
    assert listed == ["first", "done", "2", "1", "1", "$0.0200"]
    again = call(capsys, "batch", "retry", "--failed", "first")
    assert again.status == 1
    assert "bad begins in local" in again.out
    assert "attempt 2" in again.out
    assert "good" not in again.out
    until_nothing_is_left()


@pytest.mark.usefixtures("fast")
def test_each_event_is_a_line_of_json(capsys: Capture) -> None:
    done = call(capsys, "batch", "run", tasks("hello"), "--json")
    events = [json.loads(line) for line in done.out.splitlines()]
    assert [event["type"] for event in events] == ["began", "ended"]
    assert done.status == 0
    assert call(capsys, "batch", "run", tasks("hello"), "--quiet", "--name", "q").out == ""


@pytest.mark.usefixtures("fast")
def test_flags_hold_for_all_tasks_and_a_task_says_otherwise(capsys: Capture) -> None:
    file = tasks("hello", {"id": "own", "prompt": "x", "check": "false"})
    done = call(capsys, "batch", "run", file, "--check", "true", "--model", "opus", "--name", "n")
    assert done.status == 1
    known = Ledger(find_batch(default_state_dir(), "n")).tasks
    assert [(s.task.check, s.task.model) for s in known.values()] == [
        ("true", "opus"), ("false", "opus"),
    ]  # fmt: skip


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("run", "there.jsonl"), 2, "there.jsonl: No such file or directory; check the path"),
        (("run", "tasks.jsonl", "--on", "biuld"), 2, "there is no place 'biuld'"),
        (("run", "tasks.jsonl", "--on", "local:0"), 2, "no place takes a session"),
        (("run", "tasks.jsonl", "--name", "../x"), 2, "a batch cannot be called '../x'"),
        (("run", "tasks.jsonl", "--attempts", "0"), 2, "the limits of a batch"),
        (("run", "tasks.jsonl", "--retry-on", "moon"), 2, "the limits of a batch"),
        (("run", "tasks.jsonl", "--on", "local", "--orchestrator", "local"), 2, "given twice"),
        (("status", "nothing"), 2, "no batch 'nothing' here"),
        (("resume",), 2, "there is no batch yet"),
        (("results",), 2, "there is no batch yet"),
        (("stop",), 2, "there is no batch yet"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    words: tuple[str, ...], status: int, said: str, capsys: Capture
) -> None:
    tasks("hello")
    done = call(capsys, "batch", *words)
    assert done.status == status
    assert done.err.startswith("claude-mpm: ")
    assert said in done.err
    assert done.err.count("\n") == 1


@pytest.mark.usefixtures("fast")
def test_a_check_needs_a_place_that_runs_commands(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {"far": {"orchestrator": "remote", "options": {"address": "127.0.0.1:1"}}}
    monkeypatch.setenv("CLAUDE_MPM_PLACES", json.dumps(places))
    done = call(capsys, "batch", "run", tasks("hello"), "--on", "far", "--check", "true")
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "task '0001' has a check, and the place 'far' runs no commands" in done.err
    done = call(capsys, "batch", "run", tasks("hello"), "--on", "far")
    assert done.status == 1
    assert "no place answers, so nothing was begun: far: " in done.err
    done = call(capsys, "batch", "run", tasks("hello"), "--on", "far", "--on", "local:1")
    assert done.status == 0
    assert "left out: far: " in done.err


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [PROGRAM, "batch", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"{words!r} was never said")


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_runner_that_goes_leaves_what_runs_to_the_next(
    number: signal.Signals, status: int, capsys: Capture
) -> None:
    with start("run", tasks("step 1", "step 2", "step 3"), "--on", "local:2") as process:
        wait_for(process, "begins in local")
        process.send_signal(number)
        _, said = process.communicate(timeout=SECONDS)
        assert process.returncode == status
    if status > 0:
        assert "goes on\n" in said
    assert current_runner(find_batch(default_state_dir(), None)) is None
    assert call(capsys, "batch", "resume").status == 0
    assert sorted(Path("ran").read_text().split()) == ["1", "2", "3"]
    until_nothing_is_left()


@pytest.mark.usefixtures("fast")
def test_stop_ends_what_another_command_runs(capsys: Capture) -> None:
    with start("run", tasks("stream", "stream"), "--on", "local:2", "--name", "s") as process:
        wait_for(process, "begins in local")
        wait_for(process, "begins in local")
        second = call(capsys, "batch", "resume", "s")
        assert second.status == 2
        assert f"batch 's' is run by {process.pid}@" in second.err
        assert f"run by {process.pid}@" in call(capsys, "batch", "status").out
        stopped = call(capsys, "batch", "stop", "s")
        assert stopped.status == 0
        process.communicate(timeout=SECONDS)
        assert process.returncode == 1
    until_nothing_is_left()
    status = call(capsys, "batch", "status", "--json").json
    assert (status["state"], status["counts"]) == ("left: stopped", {"paused: stopped": 2})


@pytest.mark.usefixtures("fast")
def test_stop_ends_what_a_killed_runner_has_left(capsys: Capture) -> None:
    with start("run", tasks("stream"), "--name", "s") as process:
        wait_for(process, "begins in local")
        process.kill()
    stopped = call(capsys, "batch", "stop", "s")
    assert "1 sessions stopped" in stopped.out
    until_nothing_is_left()
    assert call(capsys, "batch", "results", "--json").json == []
    with BatchLock(find_batch(default_state_dir(), "s")):
        pass


@pytest.mark.usefixtures("fast")
def test_what_cannot_be_stopped_is_not_said_to_be(capsys: Capture) -> None:
    def fails(job: Job) -> Spending:
        raise LaunchError(f"{job.place.name} does not answer")

    with start("run", tasks("stream"), "--name", "s") as process:
        wait_for(process, "begins in local")
        process.kill()
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(Job, "end", fails)
        stopped = call(capsys, "batch", "stop", "s")
    assert (stopped.status, stopped.out.split(";")[0]) == (1, "s: 0 sessions stopped")
    assert stopped.err == "claude-mpm: task 0001 may run on: local does not answer\n"
    assert call(capsys, "batch", "status", "--json").json["counts"] == {"running": 1}
    assert "1 sessions stopped" in call(capsys, "batch", "stop", "s").out
    until_nothing_is_left()


@pytest.mark.usefixtures("fast")
def test_a_terminal_shows_what_goes_on(capsys: Capture) -> None:
    words = [str(PROGRAM), "batch", "run", tasks("stream"), "--name", "t"]
    with Terminal(words, dict(os.environ)) as terminal:
        terminal.expect("0 of 1")
        terminal.expect("1 running")
        terminal.expect("line 2")
        terminal.type("\x03")
        assert terminal.wait() == 130
    assert "claude-mpm batch resume t goes on" in terminal.shown
    assert "1 sessions stopped" in call(capsys, "batch", "stop", "t").out
    until_nothing_is_left()


@pytest.mark.usefixtures("fast")
def test_no_secret_is_in_the_folder_or_in_the_arguments(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "hunter2-hunter2-hunter2"
    monkeypatch.setenv("SHOP_TOKEN", secret)
    places = {"a": {"options": {"metadata": {"token": secret}}}}
    monkeypatch.setenv("CLAUDE_MPM_PLACES", json.dumps(places))
    check = "echo said: $SHOP_TOKEN; exit 1"
    done = call(capsys, "batch", "run", tasks("hello"), "--on", "a", "--check", check)
    assert "said: [redacted]" in done.out
    folder = find_batch(default_state_dir(), None)
    for file in folder.iterdir():
        assert secret.encode() not in file.read_bytes(), file
        assert not file.stat().st_mode & 0o077


def test_the_real_claude_code_runs_a_batch(
    model: ScriptedModel, home: Path, claude_path: str
) -> None:
    model.on("make it", Call("Write", file_path="made", content="x"), "It is made.")
    model.on("only talk", "It is made.")
    command = Command(model, home, claude_path)
    rows = ({"id": each, "prompt": f"{each}, please"} for each in ("make it", "only talk"))
    for row in rows:
        folder = home / row["prompt"].split()[0]
        folder.mkdir()
        row |= {"id": row["id"].replace(" ", "-"), "cwd": str(folder)}
        with (home / "t.jsonl").open("a") as file:
            file.write(json.dumps({**row, "permission_mode": "acceptEdits"}) + "\n")
    done = command(
        "batch",
        "run",
        str(home / "t.jsonl"),
        "--on",
        "local:2",
        "--check",
        "test -e made",
        status=1,
    )
    assert "make-it passed" in done.stdout
    assert "only-talk failed (the check ended with 1)" in done.stdout
    results = command.json("batch", "results")
    assert [row["outcome"] for row in results] == ["passed", "failed"]
    assert {row["verdict"] for row in results} == {"completed"}
    command.close()
    assert (home / "make" / "made").exists()


@pytest.mark.usefixtures("fast")
def test_who_waits_for_a_person_is_shown_and_answered(capsys: Capture) -> None:
    with start("run", tasks({"id": "a", "prompt": "ask", "permissions": "ask"})) as process:
        wait_for(process, "begins in local")
        name = find_batch(default_state_dir(), None).name
        asks = "asks for Write: claude-mpm questions"
        until(lambda: asks in call(capsys, "batch", "status", name).out, "it never asks")
        (asked,) = call(capsys, "questions", "--json").json
        assert call(capsys, "answer", asked["session"], asked["question"], "allow").status == 0
        out, _ = process.communicate(timeout=SECONDS)
        assert "a passed" in out
        assert process.returncode == 0


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("number", [signal.SIGINT, None])
def test_a_check_that_runs_holds_nobody_up(number: signal.Signals | None, capsys: Capture) -> None:
    """Who leaves or stops does not wait for it; the next runner runs it again."""
    row = {"id": "a", "prompt": "step 1", "check": "echo >>checked; test -e pass || sleep 3000"}
    begin, checked = time.monotonic(), Path("checked")
    with start("run", tasks(row), "--name", "c") as process:
        until(lambda: checked.exists() and checked.read_text(), "the check was never run")
        if number is None:
            assert call(capsys, "batch", "stop", "c").status == 0
        else:
            process.send_signal(number)
        process.communicate(timeout=SECONDS)
    assert time.monotonic() - begin < 300
    assert call(capsys, "batch", "results", "--json").json == []
    Path("pass").touch()
    done = call(capsys, "batch", "resume", "c")
    assert (done.status, checked.read_text()) == (0, "\n\n")
    assert Path("ran").read_text() == "1\n"
    until_nothing_is_left()


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("sink", ["a reader that goes", "/dev/full"])
def test_a_batch_goes_on_where_nobody_can_read_of_it(sink: str) -> None:
    file = tasks("step 1", "step 2", {"id": "bad", "prompt": "step 3", "check": "exit 3"})
    words = [str(PROGRAM), "batch", "run", file, "--on", "local:1", "--name", "unread"]
    if sink == "/dev/full":
        with Path(sink).open("w") as output:
            done = subprocess.run(
                words, stdout=output, stderr=subprocess.PIPE, text=True, timeout=SECONDS
            )
        said = "standard output takes no more"
    else:
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            words, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=SECONDS
        )
        os.close(writing)
        said = "1 failed, 2 passed"
    assert done.returncode == 1
    assert said in done.stderr and "Traceback" not in done.stderr
    ledger = Ledger(find_batch(default_state_dir(), "unread"))
    assert ledger.done and len(ledger.results()) == 3
