"""A running session: its phase, who watches it in which order, and what several threads change."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.engine.handshake import Handshake
from claude_mpm.engine.lifecycle import Lifecycle
from claude_mpm.engine.supervision.revival import Revival
from claude_mpm.engine.supervision.supervisor import Supervisor
from claude_mpm.journal.inbox import Inbox
from claude_mpm.records import TurnRecord
from talk import Talk

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_mpm.journal.prompts import Prompt
    from claude_mpm.wire.events import Event

SECONDS = 60.0
pytestmark = pytest.mark.usefixtures("home")


def in_thread(do: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=do)
    thread.start()
    return thread


def test_who_watches_does_so_in_one_order() -> None:
    talk = Talk(turn_token_limit=5)
    talk.supervise(Supervisor(talk))
    talk.watch_start(Handshake(talk))
    assert [type(each).__name__ for each in talk.observers] == [
        "Handshake", "QuestionDesk", "TurnTracker", "Watchdog", "RateLimitWait", "Budget",
        "Revival",
    ]  # fmt: skip
    talk.watch_start(None)
    assert type(talk.observers[0]).__name__ == "QuestionDesk"


def test_the_state_has_an_event_before_anybody_observes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    talk, seen = Talk(), []

    def observe(event: Event) -> None:
        seen.append(talk.state.delivery(talk.turn.uuid))

    monkeypatch.setattr(talk, "observe", observe)
    talk.write(talk.heard("queued"), talk.heard("started"))
    assert seen == ["queued", "started"]


def test_what_is_known_of_a_turn_is_changed_by_several_threads_at_once() -> None:
    talk, number, interval = Talk(), 2000, sys.getswitchinterval()

    def stray() -> None:
        for offset in range(number):
            talk.turn.add_stray(TurnRecord(session="s", offset=offset, end=offset + 1))

    sys.setswitchinterval(1e-6)
    try:
        threads = [in_thread(stray), in_thread(stray)]
        for times in range(number):
            talk.turn.note(waited=times, budget=str(times))
        for thread in threads:
            thread.join(SECONDS)
    finally:
        sys.setswitchinterval(interval)
    assert len(talk.turn.known.strays) == 2 * number
    assert talk.turn.known.waited == number - 1


def test_to_ask_whether_the_output_has_ended_starts_nothing_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    talk = Talk(resume_lost=1)
    talk.observers = (*talk.observers, Revival(talk))
    talk.folder.create()
    talk.folder.exit_file.write(b"137\n")
    Inbox(talk.folder).put(talk.wire.prompt("go", talk.turn.uuid))
    talk.hosted = True
    started: list[str] = []

    def relaunch(framework: Any, cut: Prompt) -> None:
        started.append(cut.uuid)

    monkeypatch.setattr(talk, "relaunch", relaunch)
    assert talk.check_end()
    assert talk.check_end()
    assert started == []
    assert talk.recover()
    assert started == [talk.turn.uuid]
    assert talk.turn.known.resumed == 1
    assert not talk.recover(), "once in a turn, and no more"


def test_who_comes_second_waits_for_the_one_who_stops() -> None:
    life, order = Lifecycle(), []
    life.begin_start()
    assert life.finish_start()
    assert str(life.phase) == "running"
    assert life.begin_stop()
    assert life.is_stopper()

    def stop() -> None:
        assert not life.begin_stop()
        assert not life.is_stopper()
        life.wait_for_stop(SECONDS)
        order.append("second")

    second = in_thread(stop)
    order.append("first")
    life.finish_stop()
    second.join(SECONDS)
    assert order == ["first", "second"]
    assert str(life.phase) == "stopped"
    assert not life.finish_start(), "a start beside a stop has lost"


def test_a_stop_that_was_interrupted_is_gone_on_with() -> None:
    life = Lifecycle()
    assert life.begin_stop()
    life.give_up_stop()
    assert life.ends, "nobody starts Claude again meanwhile"
    assert life.begin_stop()
    assert not life.begin_stop()
    life.finish_stop()
    assert not life.begin_stop()


def test_a_pause_between_two_starts_ends_with_a_stop() -> None:
    life, ended = Lifecycle(), []
    life.begin_start()
    life.fail_start()
    assert str(life.phase) == "new"
    pausing = in_thread(lambda: ended.append(life.pause(SECONDS)))
    assert life.begin_stop()
    pausing.join(SECONDS)
    assert ended == [True]
    assert not Lifecycle().pause(0.0)


def test_a_session_that_was_let_go_of_is_not_stopped() -> None:
    life = Lifecycle()
    assert life.detach()
    assert life.ends
    assert not life.begin_stop()
    assert not life.detach()
    assert str(life.phase) == "detached"


def test_nothing_ends_or_starts_while_somebody_closes_everything() -> None:
    life, free = Lifecycle(), []
    with life.alone():
        assert life.begin_stop(), "but for itself"
        in_thread(lambda: free.append(life._lock.acquire(blocking=False))).join(SECONDS)
    assert free == [False]
