"""Many sessions are read by one thread, and none of them is in another's way."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm import MPMOrchestrator
from claude_mpm.engine.lazy_event import Flag
from claude_mpm.engine.shared_reader import ReaderThread, SharedReading
from claude_mpm.sessions.index import Index
from claude_mpm.sessions.reader import Session
from claude_mpm.testing.subject import until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SECONDS = 60.0


def collect(lines: Iterable[str], found: list[str]) -> None:
    for line in lines:
        found += [line]


def own_threads(claude: MPMOrchestrator) -> list[threading.Thread]:
    name = f"claude-mpm-{claude.session_id[:8]}"
    return [thread for thread in threading.enumerate() if thread.name == name]


def wait_for_no_thread(claude: MPMOrchestrator) -> None:
    until(lambda: not own_threads(claude), lambda: f"there are still {own_threads(claude)}")


@pytest.fixture
def pair(stand_in: object) -> Iterator[tuple[MPMOrchestrator, MPMOrchestrator]]:
    first, second = MPMOrchestrator(), MPMOrchestrator()
    first.start_or_raise()
    second.start_or_raise()
    yield first, second
    first.stop()
    second.stop()


Pair = tuple[MPMOrchestrator, MPMOrchestrator]


def test_a_session_at_rest_has_no_thread_and_every_turn_is_heard(pair: Pair) -> None:
    for round_ in range(5):
        turns = [claude.ask(f"round {round_}") for claude in pair]
        assert [turn.wait(SECONDS).text for turn in turns] == [f"Claude heard: round {round_}"] * 2
        for claude in pair:
            wait_for_no_thread(claude)  # one writes the turn down
    for claude in pair:
        claude.stop()
        wait_for_no_thread(claude)  # one has read to the end
        assert len(claude.store.index.tickets()) == 0


def test_a_disk_that_stands_still_holds_up_its_own_session_alone(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    store, stands, goes_on = Index.store, threading.Event(), threading.Event()

    def slow(self: Index, session: str, *found: Any) -> None:
        if session == first.session_id:
            stands.set()
            assert goes_on.wait(SECONDS)
        store(self, session, *found)

    monkeypatch.setattr(Index, "store", slow)
    held = first.ask("one")
    assert stands.wait(SECONDS)
    assert second.ask("TODO: find a ticket").wait(SECONDS).text
    assert not held.done
    goes_on.set()
    assert held.wait(SECONDS).text == "Claude heard: one"


def test_what_is_read_wrong_in_one_session_ends_no_other(
    stand_in: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    poll, told = Session.poll, threading.Event()
    found: list[threading.ExceptHookArgs] = []

    def broken(self: Session) -> Any:
        is_first = self.folder.path.name == first.session_id
        if is_first and first._live.turns.active is not None:
            raise ZeroDivisionError("broken")
        return poll(self)

    def tell(args: threading.ExceptHookArgs) -> None:
        found.append(args)
        told.set()

    first, second = MPMOrchestrator(stop_timeout=0.5), MPMOrchestrator()
    first.start_or_raise()
    second.start_or_raise()
    monkeypatch.setattr(threading, "excepthook", tell)
    monkeypatch.setattr(Session, "poll", broken)
    lost = first.ask("hello")
    assert told.wait(SECONDS)
    assert found[0].exc_type is ZeroDivisionError
    assert "read no further: ZeroDivisionError" in lost.wait(SECONDS).verdict.reason
    assert second.ask("hello").wait(SECONDS).text == "Claude heard: hello"
    first.stop()
    second.stop()


def test_where_no_thread_can_be_had_it_is_tried_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, refusals = SharedReading._begin_errand, iter(range(2))

    def begin_errand(self: SharedReading) -> None:
        if next(refusals, None) is not None:
            raise RuntimeError("can't start new thread")
        begin(self)

    monkeypatch.setattr(SharedReading, "_begin_errand", begin_errand)
    assert pair[0].ask("hello").wait(SECONDS).text == "Claude heard: hello"
    assert next(refusals, None) is None


def test_the_death_of_an_idle_claude_and_its_host_is_noticed(pair: Pair) -> None:
    claude = pair[0]
    pids = claude.store.folder(claude.session_id).pids()
    assert pids is not None
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert claude._reader is not None
    claude._reader.join(SECONDS)
    assert not claude.running


def test_a_descriptor_takes_over_from_the_shared_thread(pair: Pair) -> None:
    claude = pair[0]
    claude.send_input("one")
    assert claude.get_output(SECONDS) == "Claude heard: one"
    found: list[str] = []
    with open(os.dup(claude.process.stdout.fileno()), encoding="utf-8") as lines:
        reader = threading.Thread(target=collect, args=(lines, found))
        reader.start()
        for count, word in enumerate(("two", "three"), 1):
            claude.send_input(word)
            while len(found) < count:  # a read that had begun may still have the first
                found += filter(None, [claude.get_output(0.1)])
        claude.stop()
        reader.join(SECONDS)
    assert [line.rstrip() for line in found] == ["Claude heard: two", "Claude heard: three"]


def test_lines_that_are_read_one_by_one_come_once_and_in_order(
    stand_in: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_LINES", "3000")
    claude = MPMOrchestrator()
    claude.start_or_raise()
    read: list[str] = []
    reader = threading.Thread(target=collect, args=(claude.process.stdout, read))
    reader.start()
    claude.send_input("go")
    queued: list[str] = []
    while not read and not queued:  # whoever is there first has it
        line = claude.get_output(0.1)
        queued += [] if line is None else [line]
    claude.stop()
    reader.join(SECONDS)
    queued += iter(lambda: claude.get_output(0), None)
    numbers = [[int(line.split()[1]) for line in lines] for lines in (read, queued)]
    assert numbers == [sorted(numbers[0]), sorted(numbers[1])]
    assert sorted(numbers[0] + numbers[1]) == list(range(3000))


class Hooked(MPMOrchestrator):
    def _flush_buffer(self) -> None:
        super()._flush_buffer()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (MPMOrchestrator, {"sinks": [id]}),
        (MPMOrchestrator, {"processors": [lambda event: ()]}),
        (MPMOrchestrator, {"durability": "event"}),
        (MPMOrchestrator, {"turn_token_limit": 10**9}),
        (Hooked, {}),
    ],
)
def test_what_may_take_its_time_has_a_thread_of_its_own(
    stand_in: object, kind: type[MPMOrchestrator], options: dict[str, Any]
) -> None:
    with kind(**options) as claude:
        assert isinstance(claude._reader, ReaderThread)
        assert claude.ask("hello").wait(SECONDS).text == "Claude heard: hello"
    wait_for_no_thread(claude)


def test_a_flag_that_is_raised_wakes_all_who_wait() -> None:
    flag, passed = Flag(), []
    threads = [threading.Thread(target=lambda: passed.append(flag.wait(SECONDS))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert not flag.is_set()
    flag.set()
    for thread in threads:
        thread.join(SECONDS)
    assert passed == [True] * 3
    assert flag.wait(0.0)
    flag.clear()
    assert not flag.wait(0.0)
    assert repr(flag) == "<Flag: unset>"
