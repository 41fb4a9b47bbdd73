"""Batches: what their tasks come to, where they are tried again, and what ends them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest

from claude_mpm.cli.batch_view import status_of
from claude_mpm.errors import NotOwner, StorageError, UsageError
from claude_mpm.fleet.attempt import Job
from claude_mpm.fleet.batch import Batch
from claude_mpm.fleet.ledger import Began, Ended, Ledger, Paused
from claude_mpm.fleet.places import Place
from claude_mpm.fleet.runner import How
from claude_mpm.fleet.task import Outcome, Result, Task, Trouble
from claude_mpm.journal import orphans
from claude_mpm.sessions.store import Store, default_state_dir

OPTIONS = {"use_framework": False}


async def to_its_stop(begun: Batch) -> None:
    """Interrupt what runs, and wait until it has been; else it would outlive the test."""
    begun.stop()
    async for _ in begun.entries():
        continue


def run(batch: Batch, seconds: float = 240.0) -> dict[str, Result]:
    """Run a batch to its end, and return how each task ended."""

    async def follow() -> dict[str, Result]:
        async with asyncio.timeout(seconds), batch:
            return {result.task: result async for result in batch}

    return asyncio.run(follow())


def batch(tasks: Any, *places: Place | str, **more: Any) -> Batch:
    return Batch(tasks, places or ("local:2",), options=OPTIONS, **more)


def left() -> list[int]:
    """Return what is left of the sessions of this test."""
    ours = default_state_dir() / "sessions"
    return [pid for path, pids in orphans.marked().items() if path.parent == ours for pid in pids]


@pytest.mark.usefixtures("fast")
def test_every_task_has_an_outcome_and_nothing_is_left() -> None:
    begun = batch(["step 1", {"id": "two", "prompt": "step 2", "cwd": "."}, "hello"])
    results = run(begun)
    assert [results[name].outcome for name in ("0001", "two", "0003")] == [Outcome.PASSED] * 3
    one = results["0001"]
    assert (one.verdict, one.check, one.tickets, one.attempt) == ("completed", None, 1, 1)
    assert (one.place, one.cost_usd, one.trouble) == ("local", 0.01, None)
    assert one.seconds > 0
    assert left() == []
    ledger = Ledger(begun.folder)
    assert ledger.done
    assert ledger.total.cost_usd == pytest.approx(0.03)
    with closing(Store()) as store:
        assert {folder.path.name for folder in store.sessions()} == {
            result.session for result in results.values()
        }


@pytest.mark.usefixtures("fast")
def test_the_check_decides() -> None:
    tasks = [
        {"id": "good", "prompt": "hello", "check": ["sh", "-c", 'test "$1" = "a b"', "x", "a b"]},
        {"id": "bad", "prompt": "hello", "check": "echo seen; echo 2 tests failed; exit 3"},
        {"id": "gone", "prompt": "hello", "check": ["no-such-program-anywhere"]},
        {"id": "left", "prompt": "hello", "check": "sleep 300 & exit 0"},
    ]
    results = run(batch(tasks))
    assert (results["good"].outcome, results["good"].check) == (Outcome.PASSED, 0)
    assert (results["bad"].outcome, results["bad"].check) == (Outcome.FAILED, 3)
    assert results["bad"].reason == "the check ended with 3: 2 tests failed"
    assert (results["gone"].outcome, results["gone"].check) == (Outcome.FAILED, 127)
    assert results["left"].ok
    assert left() == []


@pytest.mark.usefixtures("fast")
def test_a_check_that_hangs_is_ended_with_all_that_it_started() -> None:
    check = "trap '' TERM; sleep 300 & sleep 300"
    tasks = [{"id": "a", "prompt": "hello", "check": check, "check_timeout": 1}]
    begin = time.monotonic()
    results = run(batch(tasks))
    assert time.monotonic() - begin < 120  # what it started would take five minutes
    assert results["a"].outcome is Outcome.FAILED
    assert results["a"].reason == "the check did not end in 1 seconds"
    assert results["a"].check is None
    assert left() == []


@pytest.mark.usefixtures("fast")
def test_a_check_works_in_the_tasks_folder() -> None:
    Path("here").mkdir()
    tasks = [{"id": "a", "prompt": "step 3", "cwd": "here", "check": "grep -qx 3 ran && pwd >&2"}]
    assert run(batch(tasks))["a"].ok
    assert Path("here/ran").read_text() == "3\n"


@pytest.mark.usefixtures("fast")
def test_a_place_that_does_not_start_is_left_for_another() -> None:
    broken = Place(name="broken", at_once=9, options={"claude_path": "/nonexistent/claude"})
    results = run(batch([f"hello {n}" for n in range(3)], broken, Place(name="good", at_once=2)))
    assert {result.outcome for result in results.values()} == {Outcome.PASSED}
    assert {result.place for result in results.values()} == {"good"}


@pytest.mark.usefixtures("fast")
def test_no_place_that_starts_is_an_outcome_and_no_hang() -> None:
    broken = Place(name="broken", options={"claude_path": "/nonexistent/claude"})
    (result,) = run(batch(["hello"], broken, attempts=2)).values()
    assert (result.outcome, result.trouble, result.attempt) == (
        Outcome.LOST, Trouble.PLACE_LOST, 2,
    )  # fmt: skip
    assert "/nonexistent/claude" in result.reason
    once = batch(["hello"], broken, attempts=2, retry_on=["overloaded"], name="once")
    assert run(once)["0001"].attempt == 1


@pytest.mark.usefixtures("fast")
def test_a_folder_that_is_not_there_fails_the_task_alone() -> None:
    tasks = [{"id": "a", "prompt": "x", "cwd": "/not/there"}, {"id": "b", "prompt": "hello"}]
    results = run(batch(tasks, attempts=1))
    assert "/not/there" in results["a"].reason
    assert results["b"].ok


@pytest.mark.usefixtures("fast")
def test_a_turn_has_its_time() -> None:
    (result,) = run(batch([{"prompt": "stream", "timeout": 0.5}])).values()
    assert result.outcome is Outcome.TIMED_OUT
    assert left() == []


@pytest.mark.usefixtures("fast")
def test_a_budget_ends_it_within_one_turn_per_session_and_a_larger_one_goes_on() -> None:
    begun = batch([f"step {n}" for n in range(10)], budget_usd=0.03)
    results = run(begun)
    ledger = Ledger(begun.folder)
    assert 0.03 <= ledger.total.cost_usd <= 0.05 + 1e-9  # two run at once
    assert 3 <= len(results) < 10
    assert ledger.halted == "budget"
    assert left() == []
    more = run(Batch.resume(places=["local:2"], options=OPTIONS, budget_usd=1.0))
    assert len(results) + len(more) == 10
    assert all(result.ok for result in (*results.values(), *more.values()))
    assert not set(results) & set(more)


@pytest.mark.usefixtures("fast")
def test_failures_end_it_before_more_is_begun() -> None:
    tasks = [{"prompt": "hello", "check": "false"} for _ in range(8)]
    begun = batch(tasks, "local:1", max_failures=2)
    assert len(run(begun)) == 2
    assert Ledger(begun.folder).halted == "failures"
    retried = Batch.resume(places=["local:2"], options=OPTIONS, retry_failed=True, max_failures=99)
    assert len(run(retried)) == 8


@pytest.mark.usefixtures("fast")
def test_a_batch_has_its_time_and_what_was_interrupted_goes_on() -> None:
    begun = batch(["stream", "hello"], timeout=10.0)
    assert set(run(begun)) == {"0002"}
    known = Ledger(begun.folder).tasks["0001"]
    assert known.state == "paused: time"
    assert left() == []
    (result,) = run(Batch.resume(places=["local:2"], options=OPTIONS, timeout=60.0)).values()
    assert (result.task, result.ok, result.attempt) == ("0001", True, 1)


@pytest.mark.usefixtures("limited")
def test_a_refusal_parks_the_account_and_all_return_in_turn(tmp_path: Path) -> None:
    begun = batch([f"task {n}" for n in range(6)], "local:3")
    results = run(begun)
    assert {result.outcome for result in results.values()} == {Outcome.PASSED}
    assert {result.attempt for result in results.values()} == {1}  # a refusal is no new attempt
    log = [json.loads(line) for line in (tmp_path / "limit.log").read_text().splitlines()]
    lifted = float((tmp_path / "limit").read_text())
    taken = [entry["text"] for entry in log if not entry["refused"]]
    assert sorted(taken) == [f"task {n}" for n in range(6)]  # each once
    assert 1 <= sum(entry["refused"] for entry in log) <= 3  # nobody was begun meanwhile
    assert all(entry["at"] >= lifted for entry in log if not entry["refused"])
    entries = [json.loads(line) for line in (begun.folder / "log.jsonl").read_text().splitlines()]
    paused = [entry for entry in entries if entry["type"] == "paused"]
    assert {entry["reason"] for entry in paused} == {"rate limit"}
    assert [entry["until"] for entry in paused] == [pytest.approx(lifted)] * len(paused)


@pytest.mark.usefixtures("limited")
def test_a_refusal_fails_the_task_where_it_is_not_waited_for() -> None:
    (result,) = run(batch(["task"], retry_on=["place-lost"])).values()
    assert (result.outcome, result.trouble) == (Outcome.FAILED, Trouble.RATE_LIMIT)


@pytest.mark.usefixtures("fast")
def test_what_is_left_runs_on_and_is_taken_up_again() -> None:
    begun = batch([{"id": "a", "prompt": "step 1"}])
    os.mkfifo("ran")  # it is not through with its step before this is read

    async def begin_and_leave() -> None:
        async with begun:
            while not begun.runner.live or begun.runner.live["a"].what == "starting":
                await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(os.sched_yield))])

    asyncio.run(begin_and_leave())
    known = Ledger(begun.folder).tasks["a"]
    assert known.open is not None
    session = known.open.session
    assert known.state == "running"
    with ThreadPoolExecutor(1) as pool:
        ran = pool.submit(Path("ran").read_text)
        results = run(Batch.resume(places=["local:1"], options=OPTIONS))
    assert (results["a"].session, results["a"].attempt) == (session, 1)
    assert ran.result() == "1\n"  # once: nobody would read it a second time
    assert left() == []


@pytest.mark.usefixtures("fast")
def test_what_is_stopped_goes_on_in_its_session() -> None:
    async def begin_and_stop() -> None:
        async with batch([{"id": "a", "prompt": "stream"}]) as begun:
            while not begun.runner.live or begun.runner.live["a"].what == "starting":
                await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(os.sched_yield))])
            begun.stop()
            assert [entry.reason async for entry in begun.entries() if isinstance(entry, Paused)]

    asyncio.run(begin_and_stop())
    assert left() == []
    results = run(Batch.resume(places=["local:1"], options=OPTIONS))
    assert results["a"].ok
    assert results["a"].attempt == 1


@pytest.mark.usefixtures("fast")
def test_a_second_runner_is_refused() -> None:
    async def twice() -> str:
        async with batch(["stream"], name="one") as begun:
            with pytest.raises(NotOwner) as caught:
                async with Batch.resume("one", ["local:1"], options=OPTIONS):
                    pass
            await to_its_stop(begun)
            return str(caught.value)

    assert f"batch 'one' is run by {os.getpid()}@" in asyncio.run(twice())


@pytest.mark.usefixtures("fast")
def test_a_full_disk_ends_the_runner_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = batch([f"hello {n}" for n in range(4)], name="full")
    note = Ledger.note

    def full(self: Ledger, entry: Any) -> None:
        if isinstance(entry, Ended):
            raise StorageError("cannot keep the batch in x: No space left on device")
        note(self, entry)

    monkeypatch.setattr(Ledger, "note", full)
    with pytest.raises(StorageError, match="No space left"):
        run(begun)
    monkeypatch.setattr(Ledger, "note", note)
    known = Ledger(begun.folder)
    assert not known.results()
    open_before = {state.open.session for state in known.tasks.values() if state.open}
    results = run(Batch.resume("full", ["local:2"], options=OPTIONS))
    assert all(result.ok and result.attempt == 1 for result in results.values())
    assert open_before <= {result.session for result in results.values()}
    assert Ledger(begun.folder).total.cost_usd == pytest.approx(0.04)


@pytest.mark.usefixtures("fast")
def test_an_error_of_the_runner_is_why_the_batch_was_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "hunter2-hunter2-hunter2")
    begun = batch(["hello"])

    def fails(_job: Job) -> None:
        raise RuntimeError("hunter2-hunter2-hunter2\n\x1b[2Jis wrong" + "x" * 1000)

    with pytest.MonkeyPatch.context() as broken, pytest.raises(RuntimeError, match="is wrong"):
        broken.setattr(Job, "open", fails)
        run(begun)
    said = Ledger(begun.folder).halted
    assert said == f"RuntimeError: [redacted] \\x1b[2Jis wrong{'x' * 1000}"[:400]
    assert status_of(begun.folder)["state"] == f"left: {said}"
    assert run(Batch.resume(places=["local:2"], options=OPTIONS))["0001"].ok


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("no room"), "RuntimeError: no room"),
        (KeyError(), "KeyError"),
        (StorageError("the disk is full"), "the disk is full"),
        (asyncio.CancelledError(), "interrupted"),
        (None, "released by the program"),
    ],
    ids=str,
)
def test_whatever_ends_the_program_is_why_the_batch_was_left(
    fast: Path, error: BaseException | None, reason: str
) -> None:
    async def fail() -> None:
        async with begun:
            begun.runner.halt(How.DRAIN, "nothing is to be begun")
            if error is not None:
                raise error

    begun = batch(["hello"])
    with pytest.raises(type(error)) if error is not None else nullcontext():
        asyncio.run(fail())
    assert Ledger(begun.folder).halted == reason


@pytest.mark.parametrize(
    ("tasks", "places", "more", "said"),
    [
        (["x"], ["nowhere"], {}, "there is no place 'nowhere'"),
        (["x"], ["local:0"], {}, "no place takes a session"),
        (["x"], [], {}, "no place is named"),
        ([], ["local"], {}, "a batch has one task at least"),
        ([{"id": "a", "prompt": c} for c in "xy"], ["local"], {}, "have the id 'a'"),
        ([{"prompt": "x", "nope": 1}], ["local"], {}, "task 1: "),
        (["x"], ["local"], {"attempts": 0}, "the limits of a batch: "),
        (["x"], ["local"], {"budget": 1}, "a batch has no limit 'budget'"),
        (["x"], ["local"], {"retry_on": ["moon"]}, "the limits of a batch: "),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_one_line(
    tasks: Any, places: Any, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        run(Batch(tasks, places, **more))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_open_attempt_needs_its_place(fast: Path) -> None:
    begun = batch(["x"], name="b")
    ledger = Ledger(begun.folder)
    ledger.note(Began(task="0001", attempt=1, session="s", place="elsewhere", at=1.0))
    ledger.close()
    with pytest.raises(UsageError, match="is open in the place 'elsewhere', which is not among"):
        run(Batch.resume("b", ["local"]))
    room = [Place(name="elsewhere", at_once=0), Place(name="local")]
    with pytest.raises(UsageError, match="'elsewhere', which takes no session; give it room"):
        run(Batch.resume("b", room))


@pytest.mark.usefixtures("fast")
def test_what_is_noted_of_a_session_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "hunter2-hunter2-hunter2")

    async def look() -> list[str]:
        async with batch([{"id": "a", "prompt": "stream"}]) as begun:
            while "a" not in begun.runner.live:
                await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(os.sched_yield))])
            begun.runner.live["a"].what = "said hunter2-hunter2-hunter2"
            noted = [live.what for live in begun.runner.snapshot().running]
            await to_its_stop(begun)
            return noted

    assert asyncio.run(look()) == ["said [redacted]"]


# --- checkouts ------------------------------------------------------------------------------


def git(*words: str, cwd: Path | str = ".") -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@localhost")
    done = subprocess.run(
        ["git", *who, *words], cwd=cwd, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git("init", "--quiet", "--initial-branch=main", cwd=folder)
    (folder / "a").write_text("a\n")
    git("add", ".", cwd=folder)
    git("commit", "--quiet", "--message=first", cwd=folder)
    hook = folder / ".git" / "hooks" / "post-commit"
    hook.write_text("#!/bin/sh\ntouch /tmp/should-not-run-$$ hooked\n")
    hook.chmod(0o755)
    return folder


@pytest.mark.usefixtures("fast")
def test_a_worktree_is_kept_with_what_was_changed(repository: Path) -> None:
    tasks = [
        {"id": "new", "prompt": "step 1", "repository": str(repository), "worktree": True},
        {"id": "same", "prompt": "hello", "repository": str(repository), "worktree": True},
        {"id": "loose", "prompt": "step 2", "repository": str(repository), "revision": "main"},
    ]
    results = run(batch(tasks, name="wt"))
    assert all(result.ok for result in results.values()), results
    assert results["new"].branch == "batch/wt/new"
    assert git("show", "batch/wt/new:ran", cwd=repository) == "1\n"
    assert (
        git("log", "-1", "--format=%s", "batch/wt/new", cwd=repository) == "new of the batch wt\n"
    )
    assert (results["same"].branch, results["same"].folder) == ("", "")
    assert "same" not in git("branch", "--list", cwd=repository)
    assert (Path(results["loose"].folder) / "ran").read_text() == "2\n"
    assert len(git("worktree", "list", cwd=repository).splitlines()) == 3  # with the main one
    assert git("status", "--porcelain", cwd=repository) == ""
    assert not list(repository.rglob("hooked"))


@pytest.mark.usefixtures("fast")
def test_a_revision_that_is_not_there_is_one_line(repository: Path) -> None:
    tasks = [{"prompt": "x", "repository": str(repository), "revision": "--upload-pack=x"}]
    (result,) = run(batch(tasks, attempts=1)).values()
    assert result.reason.startswith(f"no checkout of {repository}: there is no revision --upload")


# --- how it halts -----------------------------------------------------------------------------


def test_a_runner_never_goes_back() -> None:
    assert sorted(How) == [How.RUN, How.DRAIN, How.END, How.LEAVE]


def test_a_task_says_what_it_wants_of_its_orchestrator() -> None:
    task = Task(id="a", prompt="x", framework="/f", budget_usd=2.0, allowed_tools=["Read"])
    assert task.options() == {
        "framework_path": "/f", "session_cost_limit_usd": 2.0, "allowed_tools": ["Read"],
    }  # fmt: skip
