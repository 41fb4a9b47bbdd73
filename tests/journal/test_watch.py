"""Waiting for a folder to change."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import pytest

from claude_mpm.journal import folder_watch

if TYPE_CHECKING:
    from pathlib import Path

FOREVER = 60.0


def watchers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "claude-mpm-watch"}


@pytest.mark.parametrize("platform", [sys.platform, "somewhere else"])
def test_a_write_ends_the_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    monkeypatch.setattr("sys.platform", platform)
    journal = tmp_path / "out.jsonl"
    journal.touch()
    changes = folder_watch.subscribe(tmp_path)
    writer = threading.Timer(0.05, lambda: journal.write_text("x"))
    writer.start()
    while not journal.read_text():
        changes.wait(FOREVER)
    writer.join()
    changes.close()


def test_two_followers_of_one_folder_are_both_woken(tmp_path: Path) -> None:
    both = [folder_watch.subscribe(tmp_path) for _ in range(2)]
    (tmp_path / "draft").write_text("1")
    (tmp_path / "draft").rename(tmp_path / "exit")
    for changes in both:
        changes.wait(FOREVER)
    both[0].close()
    (tmp_path / "more").write_text("1")
    both[1].wait(FOREVER)
    both[1].close()
    both[1].close()


def test_wake_ends_the_wait_from_another_thread(tmp_path: Path) -> None:
    changes = folder_watch.subscribe(tmp_path)
    thread = threading.Thread(target=changes.wait, args=(FOREVER,))
    thread.start()
    changes.wake()
    thread.join(FOREVER)
    assert not thread.is_alive()
    changes.close()


def test_the_thread_goes_with_the_last_follower(tmp_path: Path) -> None:
    others = watchers()
    watcher = folder_watch._Watcher()
    first, second = watcher.subscribe(tmp_path), watcher.subscribe(tmp_path)
    (thread,) = watchers() - others
    first.close()
    assert thread.is_alive()
    second.close()
    thread.join(FOREVER)
    assert not thread.is_alive()


def test_a_folder_that_is_not_there_is_looked_at_instead(tmp_path: Path) -> None:
    others = watchers()
    changes = folder_watch._Watcher().subscribe(tmp_path / "nowhere")
    assert changes.polls
    changes.wait(0.0)
    changes.close()
    for thread in watchers() - others:
        thread.join(FOREVER)
        assert not thread.is_alive()


class Recorder:
    """Is told of changes, and notes where."""

    def __init__(self, again: int = 0) -> None:
        self.threads: list[str] = []
        self.renamed: list[bool] = []
        self.told = threading.Semaphore(0)
        self.ticked = threading.Event()
        self._again = again

    def on_change(self, renamed: bool, /) -> bool:
        self.threads.append(threading.current_thread().name)
        self.renamed.append(renamed)
        self.told.release()
        self._again -= 1
        return self._again >= 0

    def on_tick(self) -> None:
        self.ticked.set()


def test_the_watching_thread_tells_who_is_served(tmp_path: Path) -> None:
    changes, served = folder_watch.subscribe(tmp_path), Recorder(again=2)
    changes.set_handler(served)
    for _ in range(3):  # at once, and as often again as it asked for
        assert served.told.acquire(timeout=FOREVER)
    (tmp_path / "draft").write_text("1")
    assert served.told.acquire(timeout=FOREVER)
    (tmp_path / "draft").rename(tmp_path / "exit")
    while not served.renamed[-1]:
        assert served.told.acquire(timeout=FOREVER)
    assert served.ticked.wait(FOREVER)
    assert set(served.threads) == {"claude-mpm-watch"}
    changes.set_handler(None)
    (tmp_path / "more").write_text("1")
    changes.wait(FOREVER)  # it is an alarm clock again
    changes.close()


def test_wake_tells_who_is_served(tmp_path: Path) -> None:
    changes, served = folder_watch.subscribe(tmp_path), Recorder()
    changes.set_handler(served)
    assert served.told.acquire(timeout=FOREVER)
    changes.wake()
    assert served.told.acquire(timeout=FOREVER)
    assert all(served.renamed)
    changes.close()
    changes.wake()
    changes.wait(FOREVER)


def test_all_who_are_served_are_looked_at_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_watch, "_TICK", 0.01)
    monkeypatch.setattr(folder_watch, "_CHECKS_PER_TICK", 2)
    folders = [tmp_path / str(number) for number in range(7)]
    for folder in folders:
        folder.mkdir()
    both = [(folder_watch.subscribe(folder), Recorder()) for folder in folders]
    for changes, served in both:
        changes.set_handler(served)
    for _, served in both:
        for _ in range(4):  # there is no change, and yet
            assert served.told.acquire(timeout=FOREVER)
    for changes, _ in both:
        changes.close()
