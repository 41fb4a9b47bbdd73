"""The folder of a batch: what is in it after deaths, and who may run it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from claude_mpm.errors import NotOwner, StorageError, UnknownSession, UsageError
from claude_mpm.fleet.ledger import (
    BatchLock,
    Began,
    Ended,
    Ledger,
    Paused,
    Plan,
    Reopened,
    Resumed,
    batch_names,
    create_batch,
    current_runner,
    find_batch,
)
from claude_mpm.fleet.task import Outcome, Result, Task, Trouble
from claude_mpm.records import Spending

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tasks = [Task(id="a", prompt="one"), Task(id="b", prompt="two")]
    plan = Plan(name="batch", created_at=0.0, base="/", places=("local:4",))
    return create_batch(tmp_path / "state", plan, tasks)


def began(task: str, attempt: int = 1) -> Began:
    session = f"{task}-{attempt}"
    return Began(task=task, attempt=attempt, session=session, place="local", at=1.0)


def ended(task: str, outcome: Outcome = Outcome.PASSED, *, final: bool = True) -> Ended:
    result = Result(task=task, attempt=1, outcome=outcome, cost_usd=0.5, session=f"{task}-1")
    return Ended(result=result, final=final, at=2.0)


def test_everything_is_there_for_the_next(folder: Path) -> None:
    ledger = Ledger(folder)
    pause = Paused(task="b", attempt=1, reason="budget", at=1.5, spent=Spending(0.25, 7))
    for entry in (began("a"), began("b"), ended("a"), pause):
        ledger.note(entry)
    ledger.close()
    known = Ledger(folder)
    assert {name: state.state for name, state in known.tasks.items()} == {
        "a": "passed", "b": "paused: budget",
    }  # fmt: skip
    assert known.total == Spending(0.75, 7)
    known.note(Resumed(task="b", attempt=1, at=3.0))
    assert known.tasks["b"].state == "running"
    known.note(ended("b", Outcome.FAILED))
    known.note(Reopened(tasks=["b"], at=4.0))
    assert (known.tasks["b"].state, known.tasks["b"].tried, known.done) == ("waiting", 0, False)
    known.close()


def test_an_attempt_that_is_tried_again_is_not_the_end(folder: Path) -> None:
    ledger = Ledger(folder)
    ledger.note(began("a"))
    ledger.note(ended("a", Outcome.LOST, final=False))
    assert (ledger.tasks["a"].ended, ledger.tasks["a"].open) == (False, None)
    ledger.close()


def test_a_line_that_its_writer_did_not_live_to_end_was_not_said(folder: Path) -> None:
    ledger = Ledger(folder)
    ledger.note(began("a"))
    ledger.close()
    log = folder / "log.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole + b'{"type":"began","task":"b"')
    after = Ledger(folder)
    assert after.tasks["b"].open is None
    after.note(began("b"))
    after.close()
    assert log.read_bytes().startswith(whole)
    assert Ledger(folder).tasks["b"].open is not None


@pytest.mark.parametrize(
    ("file", "data", "said"),
    [
        ("log.jsonl", b"{}\n", "log.jsonl: damaged"),
        ("log.jsonl", b'{"type":"reopened","tasks":["z"],"at":1}\n', "a task 'z'"),
        ("tasks.jsonl", b"nonsense\n", "tasks.jsonl: damaged"),
        ("batch.json", b"\xff", "batch.json: damaged"),
    ],
)
def test_a_damaged_folder_is_one_line(folder: Path, file: str, data: bytes, said: str) -> None:
    (folder / file).write_bytes(data)
    with pytest.raises(StorageError) as caught:
        Ledger(folder)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_others_can_write_is_refused(folder: Path) -> None:
    folder.chmod(0o777)
    with pytest.raises(StorageError, match="can be written by others"):
        Ledger(folder)


def test_what_the_disk_does_not_take_has_not_happened(folder: Path) -> None:
    ledger = Ledger(folder)
    ledger.note(began("a"))
    limited = (
        "import resource, sys; from pathlib import Path;"
        "from claude_mpm.fleet.ledger import Began, Ledger; ledger = Ledger(Path(sys.argv[1]));"
        "size = (ledger.folder / 'log.jsonl').stat().st_size + 20;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size, size));"
        "ledger.note(Began(task='b', attempt=1, session='x', place='local', at=1.0))"
    )
    before = (folder / "log.jsonl").read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", limited, str(folder)], capture_output=True, text=True, check=False
    )
    assert "cannot keep the batch in" in done.stderr
    assert "free some space, then claude-mpm batch resume" in done.stderr
    assert (folder / "log.jsonl").read_bytes() == before
    ledger.close()


def test_one_runs_it_at_a_time_and_death_lets_go(folder: Path) -> None:
    assert current_runner(folder) is None
    with BatchLock(folder):
        runner = current_runner(folder)
        assert runner is not None
        assert runner.pid == os.getpid()
        with pytest.raises(NotOwner) as caught:
            BatchLock(folder)
        assert f"batch 'batch' is run by {os.getpid()}@{os.uname().nodename} since " in str(
            caught.value
        )
        assert Ledger(folder).plan.name == "batch"  # who only looks may
    hold = (
        "import sys; from pathlib import Path; from claude_mpm.fleet.ledger import BatchLock;"
        "lock = BatchLock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(NotOwner, match=f"{process.pid}@"):
            BatchLock(folder)
        process.kill()
        process.wait()
        BatchLock(folder).release()


def test_a_killed_runner_runs_nothing_though_what_it_was_just_starting_has_the_lock(
    folder: Path,
) -> None:
    hold = (
        "import subprocess, sys; from pathlib import Path;"
        "from claude_mpm.fleet.ledger import BatchLock; lock = BatchLock(Path(sys.argv[1]));"
        "subprocess.Popen(['cat'], pass_fds=[lock._descriptor], stdout=subprocess.DEVNULL);"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        process.kill()
        process.wait()
        assert current_runner(folder) is None
        with ThreadPoolExecutor(1) as thread:
            taken = thread.submit(BatchLock, folder)
            process.stdin.close()  # and what it was starting ends
            taken.result().release()


def test_what_is_let_go_is_free_though_a_process_that_is_just_starting_has_it_open(
    folder: Path,
) -> None:
    lock = BatchLock(folder)
    copy = os.dup(lock._descriptor)  # as a fork has it until it runs its program
    lock.release()
    assert current_runner(folder) is None
    BatchLock(folder).release()
    os.close(copy)


@pytest.mark.parametrize("name", ["../x", "", "a/b", "a b", "x" * 65, ".hidden"])
def test_a_name_is_no_path(tmp_path: Path, name: str) -> None:
    plan = Plan(name=name, created_at=0.0, base="/", places=())
    with pytest.raises(UsageError, match="a batch cannot be called"):
        create_batch(tmp_path, plan, [Task(id="a", prompt="x")])


def test_a_name_is_given_once_and_found_again(folder: Path) -> None:
    state = folder.parents[1]
    with pytest.raises(UsageError, match="there is a batch 'batch' already"):
        create_batch(state, Plan(name="batch", created_at=0.0, base="/", places=()), [])
    assert batch_names(state) == ["batch"]
    assert find_batch(state, None) == find_batch(state, "batch") == folder
    with pytest.raises(UnknownSession, match="no batch 'batsh' here; did you mean 'batch'"):
        find_batch(state, "batsh")


def test_a_batch_of_many_tasks_is_read_at_once(tmp_path: Path) -> None:
    tasks = [Task(id=f"t{n}", prompt="x" * 100) for n in range(20_000)]
    plan = Plan(name="big", created_at=0.0, base="/", places=("local:4",))
    folder = create_batch(tmp_path, plan, tasks)
    begin = time.process_time()
    assert len(Ledger(folder).tasks) == 20_000
    assert time.process_time() - begin < 2.0


def test_the_troubles_are_those_of_the_command() -> None:
    assert [str(trouble) for trouble in Trouble] == ["place-lost", "rate-limit", "overloaded"]
