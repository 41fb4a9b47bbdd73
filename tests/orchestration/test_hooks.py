"""Hooks and options of the base, with the stand-in for `claude`."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from claude_mpm import Event, MPMOrchestrator, Outcome
from claude_mpm.engine import resume
from claude_mpm.engine.lifecycle import Lifecycle, Phase
from claude_mpm.engine.live_session import LiveSession
from claude_mpm.engine.shared_reader import ReaderThread
from claude_mpm.errors import (
    ClaudeNotFound,
    LaunchError,
    SessionEnded,
    StorageError,
    UsageError,
)
from claude_mpm.testing.residue import Remains

pytestmark = pytest.mark.usefixtures("stand_in")
SECONDS = 60.0


def gather(claude: MPMOrchestrator, count: int) -> list[str]:
    """Return `count` lines, or fewer where the time is up."""
    found: list[str] = []
    deadline = time.monotonic() + SECONDS
    while len(found) < count and time.monotonic() < deadline:
        line = claude.get_output(timeout=1.0)
        found += [] if line is None else [line]
    return found


def stand_in_log() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(os.environ["STAND_IN_LOG"]).read_text().splitlines()]


def test_every_default_calls_the_next_hook_through_self() -> None:
    class Shouting(MPMOrchestrator):
        def send_input(self, text: str) -> None:
            super().send_input(text.upper())

        def _process_output_line(self, line: str) -> None:
            super()._process_output_line(f"<{line}>")

    with Shouting() as claude:
        turn = claude.ask("hello")
        assert list(turn) == ["<Claude heard: HELLO>"]
        assert turn.text == "<Claude heard: HELLO>"
        claude.send_input("again")
        assert gather(claude, 1) == ["<Claude heard: AGAIN>"]


def test_output_is_there_after_stop_until_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_LINES", "20000")
    claude = MPMOrchestrator()
    assert claude.start()
    claude.send_input("go")
    assert gather(claude, 1) == ["line 0"]
    claude.stop()
    assert claude.running is False
    assert gather(claude, 19_999) == [f"line {n}" for n in range(1, 20_000)]
    assert claude.get_output(timeout=0.0) is None


def test_lines_that_are_not_json_are_kept_counted_and_never_fatal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "raw"
    raw.write_text('oops\n{"type": "brand_new"}\n\n[1]\n{"half": \n')
    monkeypatch.setenv("STAND_IN_RAW", str(raw))
    with MPMOrchestrator() as claude:
        assert claude.ask("hello").check().text == "Claude heard: hello"
        kinds = [event.kind for event in claude.events()]
    position = claude.store.index.position(claude.session_id)
    assert position.not_json == kinds.count("not-json") == 3
    assert kinds.count("unknown") == 1


def test_a_line_of_64_mb_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 64 * 1024 * 1024
    raw = tmp_path / "raw"
    block = {"type": "text", "text": "x" * size}
    message = {"role": "assistant", "content": [block]}
    raw.write_text(json.dumps({"type": "assistant", "message": message}) + "\n")
    monkeypatch.setenv("STAND_IN_RAW", str(raw))
    with MPMOrchestrator() as claude:
        first, second = list(claude.ask("hello"))
    assert len(first) == size
    assert second == "Claude heard: hello"


def test_a_prompt_of_6_mb_passes() -> None:
    prompt = "y" * 6_000_000
    with MPMOrchestrator() as claude:
        assert claude.ask(prompt).check().text == f"Claude heard: {prompt}"


@pytest.mark.parametrize("prompt", ["", " \n\t"])
def test_an_empty_prompt_is_refused(prompt: str) -> None:
    with MPMOrchestrator() as claude, pytest.raises(UsageError, match="prompt is empty"):
        claude.ask(prompt)


def test_claude_that_dies_is_a_lost_turn_with_what_it_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STAND_IN_EXIT", "3")
    with MPMOrchestrator() as claude:
        verdict = claude.ask("hello").verdict
        assert verdict.outcome is Outcome.LOST
        assert "status 3" in verdict.reason
        assert "told to fail" in verdict.reason
        assert claude.running is False
        with pytest.raises(SessionEnded, match=r"status 3.*claude-mpm resume"):
            claude.send_input("more")


def test_a_stop_ends_a_claude_that_hears_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_DEAF", "1")
    claude = MPMOrchestrator(stop_timeout=0.3)
    assert claude.start()
    pid = claude.process.pid
    claude.stop()
    assert claude.process.poll() is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert claude._live.exit_status() == 137


def test_stop_is_safe_before_start_twice_and_from_every_thread() -> None:
    claude = MPMOrchestrator()
    claude.stop()
    assert claude.start()
    threads = [threading.Thread(target=claude.stop) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    claude.stop()
    assert claude.running is False


def test_a_stop_while_it_starts_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    claude = MPMOrchestrator()
    load = claude.framework_loader.load

    def stop_and_load() -> Any:
        stopping = threading.Thread(target=claude.stop)
        stopping.start()
        stopping.join(SECONDS)
        return load()

    monkeypatch.setattr(claude.framework_loader, "load", stop_and_load)
    assert not claude.start()
    assert "was stopped while it started" in str(claude.error)
    assert Remains(claude.store.folder(claude.session_id)).found() == []


def test_a_stop_waits_for_one_that_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchdog may have begun to end a Claude that hears nothing; ours returns after that."""
    monkeypatch.setenv("STAND_IN_DEAF", "1")
    claude = MPMOrchestrator(stop_timeout=1.0)
    assert claude.start()
    gone = []

    def stop() -> None:
        claude.stop()
        gone.append(claude.process.poll() is not None)

    threads = [threading.Thread(target=stop) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert gone == [True, True]


@pytest.mark.parametrize(
    ("owner", "method", "goes_on"),
    [
        (Lifecycle, "begin_stop", True),
        (LiveSession, "end", False),
        (Lifecycle, "finish_stop", False),
    ],
    ids=["begun", "under way", "done"],
)
def test_a_stop_that_was_interrupted_is_finished_by_the_next_one(
    monkeypatch: pytest.MonkeyPatch, owner: type, method: str, goes_on: bool
) -> None:
    kept = getattr(owner, method)

    def interrupted(*arguments: Any) -> None:
        if goes_on:
            kept(*arguments)
        raise KeyboardInterrupt

    claude = MPMOrchestrator()
    claude.start_or_raise()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(owner, method, interrupted)
        claude.stop()
    claude.stop()
    assert claude._live.life.phase is Phase.STOPPED
    assert Remains(claude.store.folder(claude.session_id)).found() == []


def test_who_cannot_take_up_a_session_that_runs_leaves_it_running(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    first = MPMOrchestrator()
    first.start_or_raise()
    first.ask("hello").wait(SECONDS)
    first.detach()
    folder = first.store.folder(first.session_id)
    second = MPMOrchestrator(session_id=first.session_id, resume=True)
    with monkeypatch.context() as patch:
        patch.setattr(resume, "_answer_again", full)
        assert not second.start()
    assert str(second.error) == "the disk is full"
    assert folder.has_host() and not folder.has_ended()
    assert second.start() and second.attached
    assert second.ask("more").wait(SECONDS).text == "Claude heard: more"
    second.stop()
    assert Remains(folder).found() == []


class Failing(MPMOrchestrator):
    """Raises what it was made with at the first line, in a hook."""

    raises: ClassVar[BaseException]

    def _observe(self, event: Event) -> None:
        if event.kind == "assistant":
            raise self.raises
        super()._observe(event)


@pytest.mark.parametrize(
    ("way", "raises"),
    [
        ("hook", ZeroDivisionError("mine")),
        ("hook", SystemExit(3)),
        ("sink", SystemExit(3)),  # another error of a sink is logged
        ("descriptor", ZeroDivisionError("mine")),
    ],
)
def test_a_reading_that_fails_ends_its_turns_and_the_session(
    monkeypatch: pytest.MonkeyPatch, way: str, raises: BaseException
) -> None:
    """Nobody reads any more, so that a turn would never end."""
    printed: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", lambda found: printed.append(found.exc_value))
    monkeypatch.setattr(Failing, "raises", raises, raising=False)

    def sink(event: Event) -> None:
        if event.kind == "assistant":
            raise raises

    claude = MPMOrchestrator(sinks=[sink]) if way == "sink" else Failing()
    with claude:
        if way == "descriptor":
            claude.process.stdout.fileno()
        turn = claude.ask("hello").wait(SECONDS)
        assert printed == [raises]
        assert turn.verdict.outcome is Outcome.LOST
        assert f"what Claude says is read no further: {raises!r}" in turn.verdict.reason
        claude.stop()  # waits for the one of the reader
        assert not claude.running
        with pytest.raises(SessionEnded):
            claude.ask("more")
    assert Remains(claude.store.folder(claude.session_id)).found() == []


@pytest.mark.parametrize("way", ["stop", "detach"])
def test_metadata_that_a_full_disk_does_not_take_is_an_error_and_all_is_closed(
    monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    failed: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    claude = MPMOrchestrator(metadata={})
    claude.start_or_raise()
    index = claude.store.index

    def full(_: object) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(MPMOrchestrator, "_save_session_metadata", full)
        with pytest.raises(StorageError, match="the disk is full"):
            getattr(claude, way)()
    assert index.holders == 0
    getattr(claude, way)()
    claude.end_session()
    assert not failed


def test_a_state_folder_that_is_removed_ends_no_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    monkeypatch.setenv("STAND_IN_LATE", str(tmp_path / "late"))
    os.mkfifo(tmp_path / "late")
    with MPMOrchestrator(state_dir=tmp_path / "state") as claude:
        turn = claude.ask("hello")
        shutil.rmtree(tmp_path / "state")
        claude._live.act()  # as once in a second while nothing comes
        assert not claude._live.look()
        claude.stop()
        assert turn.verdict.outcome is Outcome.LOST
    assert not failed


def test_stop_from_a_hook() -> None:
    class Done(MPMOrchestrator):
        def _process_output_line(self, line: str) -> None:
            super()._process_output_line(line)
            self.stop()

    claude = Done()
    assert claude.start()
    claude.send_input("hello")
    assert gather(claude, 1) == ["Claude heard: hello"]
    assert isinstance(claude._reader, ReaderThread)
    claude._reader.join(SECONDS)
    assert not claude._reader.is_alive()
    assert claude.process.poll() is not None
    assert claude.running is False


def test_a_hook_that_raises_does_not_end_the_session_until_it_does_so_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STAND_IN_LINES", "8")

    class Clumsy(MPMOrchestrator):
        seen: list[str]

        def _process_output_line(self, line: str) -> None:
            self.seen.append(line)
            if line in ("line 1", "line 3", "line 4", "line 5"):
                raise RuntimeError("clumsy")
            super()._process_output_line(line)

    claude = Clumsy(max_output_errors=3)
    claude.seen = []
    assert claude.start()
    claude.send_input("go")
    assert gather(claude, 2) == ["line 0", "line 2"]
    assert claude._reader is not None
    claude._reader.join(SECONDS)
    assert claude.seen[:6] == [f"line {n}" for n in range(6)]
    assert claude.running is False
    claude.stop()


def test_a_start_that_fails_is_tried_again_with_growing_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in: Path
) -> None:
    later = tmp_path / "later"
    monkeypatch.setenv("CLAUDE_PATH", str(later))
    claude = MPMOrchestrator(start_retries=3, retry_backoff=0.01)
    pauses: list[float] = []

    def wait(seconds: float) -> bool:
        pauses.append(seconds)
        if len(pauses) == 2:
            later.symlink_to(stand_in)
        return False

    monkeypatch.setattr(Lifecycle, "pause", lambda _, seconds: wait(seconds))
    assert claude.start() is True
    assert pauses == [0.01, 0.02]
    assert claude.ask("up").text == "Claude heard: up"
    claude.stop()


def test_a_start_that_fails_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLAUDE_PATH", str(tmp_path / "nowhere"))
    claude = MPMOrchestrator()
    assert claude.start() is False
    assert isinstance(claude.error, ClaudeNotFound)
    with pytest.raises(ClaudeNotFound, match="nowhere"), claude:
        pass
    monkeypatch.delenv("CLAUDE_PATH")
    missing = MPMOrchestrator(cwd=str(tmp_path / "gone"))
    with pytest.raises(LaunchError, match="gone"), missing:
        pass


def test_claude_that_refuses_its_arguments_is_a_start_that_failed(tmp_path: Path) -> None:
    refusing = tmp_path / "refusing"
    refusing.write_text("#!/bin/sh\necho 'error: unknown option' >&2\nexit 1\n")
    refusing.chmod(0o755)
    claude = MPMOrchestrator(claude_path=str(refusing))
    assert claude.start() is False
    assert "status 1 before it answered: error: unknown option" in str(claude.error)
    assert claude.running is False


def test_batches_are_handed_on_whole_and_the_rest_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STAND_IN_LINES", "25")
    with MPMOrchestrator(batch_size=10) as claude:
        assert claude.ask("go").text.splitlines() == [f"line {n}" for n in range(25)]
        claude.send_input("go")
        assert gather(claude, 25) == [f"line {n}" for n in range(25)]


def test_metadata_is_kept_with_start_and_end() -> None:
    with MPMOrchestrator(metadata={"purpose": "a test"}) as claude:
        file = claude.store.folder(claude.session_id).metadata
        assert "end_time" not in json.loads(file.read_text())
    kept = json.loads(file.read_text())
    assert kept["purpose"] == "a test"
    assert kept["session_id"] == claude.session_id
    assert kept["start_time"] <= kept["end_time"]


def test_a_program_of_plain_lines_runs_under_the_host_too(stand_in: Path) -> None:
    with MPMOrchestrator(wire="plain-text", quiet=0.3) as claude:
        assert claude.ask("TODO: Say it back").check().text == "Claude heard: TODO: Say it back"
        claude.send_input("more")
        assert gather(claude, 1) == ["Claude heard: more"]
    assert claude.store.folder(claude.session_id).exit_status() == 0


def test_two_sessions_at_once_do_not_see_each_other() -> None:
    with MPMOrchestrator() as one, MPMOrchestrator() as two:
        turns = [(claude, claude.ask(f"for {claude.session_id}")) for claude in (one, two)]
        for claude, turn in turns:
            assert turn.check().text == f"Claude heard: for {claude.session_id}"
            assert claude.get_output(timeout=0.0) is None


def test_nothing_is_left_behind() -> None:
    def descriptors() -> int:
        return len(os.listdir("/dev/fd"))

    with MPMOrchestrator() as claude:
        claude.ask("warm up").check()
    before_threads, before = set(threading.enumerate()), descriptors()
    for _ in range(3):
        with MPMOrchestrator() as claude:
            claude.ask("hello").check()
        folder = claude.store.folder(claude.session_id)
        assert not {"feed", "lease", "stdin", "pid"} & {
            file.name for file in folder.exchange.iterdir()
        }
    for thread in set(threading.enumerate()) - before_threads:
        thread.join(SECONDS)
    assert set(threading.enumerate()) <= before_threads
    assert descriptors() <= before


def test_events_are_read_as_the_session_was_started() -> None:
    with MPMOrchestrator(ticket_markers={"SPIKE": "task"}) as claude:
        claude.ask("SPIKE: Look around").check()
        tickets = [event.data.title for event in claude.events() if event.kind == "ticket"]
    assert tickets == ["Look around"]
    with MPMOrchestrator(tickets=False) as claude:
        claude.ask("TODO: Look around").check()
        assert "ticket" not in [event.kind for event in claude.events()]


def test_an_event_cursor_goes_on_where_it_stood() -> None:
    with MPMOrchestrator() as claude:
        claude.ask("one").check()
        seen = list(claude.events())
        claude.ask("two").check()
        more = list(claude.events(since=seen[-1].end))
        assert [e.type for e in [*seen, *more]] == [e.type for e in claude.events()]
    assert all(event.offset >= seen[-1].end for event in more)
    assert [event.data.prompts for event in more if event.kind == "turn"] != []


def test_sinks_and_processors_of_the_user_take_part() -> None:
    seen: list[str] = []

    def shout(event: Event) -> list[Event]:
        if event.kind != "assistant":
            return []
        return [Event("shout", event.data.message.blocks[0].text, event.offset, event.end)]

    def note(event: Event) -> None:
        if event.kind == "shout":
            seen.append(event.data)

    with MPMOrchestrator(processors=[shout], sinks=[note]) as claude:
        claude.ask("hello").check()
    assert seen == ["Claude heard: hello"]


def test_a_processor_of_the_users_is_asked_once_more_at_the_end() -> None:
    class Counting:
        count = 0

        def __call__(self, event: Event) -> list[Event]:
            self.count += event.kind == "assistant"
            return []

        def finish(self) -> list[Event]:
            return [Event("counted", self.count, 0, 0)]

    seen: list[Event] = []
    with MPMOrchestrator(processors=[Counting()], sinks=[seen.append]) as claude:
        claude.ask("hello").check()
    assert [event.data for event in seen if event.kind == "counted"] == [1]


def test_a_sink_and_a_processor_that_raise_stop_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def clumsy(event: object) -> list[Any]:
        raise RuntimeError("clumsy")

    with MPMOrchestrator(processors=[clumsy], sinks=[clumsy], log_level="ERROR") as claude:
        assert claude.ask("hello").check().text == "Claude heard: hello"
    assert {"processor", "sink"} <= {record.getMessage().split()[0] for record in caplog.records}


def test_an_answer_that_comes_at_once_over_a_way_of_ones_own_is_the_turns() -> None:
    class Echo(MPMOrchestrator):
        def send_input(self, text: str) -> None:
            self._process_output_line(f"at once: {text}")

    claude = Echo(quiet=0.1)
    assert claude.ask("hello").text == "at once: hello"
    assert claude.get_output(timeout=0.0) is None
    claude.stop()


def test_a_session_of_ones_own_name_is_resumed_by_it(stand_in: Path) -> None:
    for round_ in range(2):
        with MPMOrchestrator(session_id="my-work", resume=round_ > 0) as claude:
            claude.ask(f"prompt {round_}").check()
    argvs = [record["argv"] for record in stand_in_log() if "argv" in record]
    given = argvs[0][argvs[0].index("--session-id") + 1]
    assert f"--resume={given}" in argvs[1]
    assert len(claude.store.folder("my-work").read_meta().starts) == 2
    assert [turn.offset for turn in claude.store.index.turns("my-work")] == sorted(
        turn.offset for turn in claude.store.index.turns("my-work")
    )


def test_a_session_that_is_not_there_cannot_be_resumed() -> None:
    claude = MPMOrchestrator(session_id="nobody", resume=True)
    assert claude.start() is False
    assert "no session nobody to resume" in str(claude.error)


def test_lines_of_a_subclass_that_reads_by_itself_are_kept_and_searched() -> None:
    claude = MPMOrchestrator()
    claude._process_output_line("TODO: Keep this line")
    claude._process_output_line("and this one")
    assert gather(claude, 2) == ["TODO: Keep this line", "and this one"]
    claude.stop()
    folder = claude.store.folder(claude.session_id)
    assert folder.journal.path.read_text() == "TODO: Keep this line\nand this one\n"
    assert [t.title for t in claude.store.index.tickets(claude.session_id)] == ["Keep this line"]
    claude.store.close()
