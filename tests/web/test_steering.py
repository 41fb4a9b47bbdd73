"""Steering a session from the page: it is followed from the first prompt to the last turn's end."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.errors import SessionEnded
from claude_mpm.sessions.store import Store
from claude_mpm.testing.subject import until
from claude_mpm.web.steering import Steering

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = 30.0


class FakeTurn:
    """A turn that ends when the test says so."""

    def __init__(self) -> None:
        self.uuid = "u"
        self.over = threading.Event()

    def wait(self) -> None:
        assert self.over.wait(SECONDS)


class FakeClaude:
    """A Claude whose turns end in the very moment in which it is given a further prompt."""

    def __init__(self) -> None:
        self.session_id = "s"
        self.running = self.attached = True
        self.detached = self.refuses = False
        self.turns: list[FakeTurn] = []

    def start_or_raise(self) -> None:
        """Start."""

    def ask(self, text: str, *, command: bool) -> FakeTurn:
        if self.refuses:
            raise SessionEnded("it takes no more input")
        followers = [each for each in threading.enumerate() if each.name == "web-s"]
        for turn in self.turns:
            turn.over.set()
        for follower in followers:
            follower.join(SECONDS)
        self.turns.append(FakeTurn())
        return self.turns[-1]

    def detach(self) -> None:
        self.detached = True


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path)
    yield opened
    opened.close()


def test_a_prompt_at_the_end_of_a_turn_is_followed(store: Store) -> None:
    claude = FakeClaude()
    steering = Steering(store, lambda folder, **options: as_claude(claude))
    steering.prompt(store.folder("s"), "one", command=False)
    steering.prompt(store.folder("s"), "two", command=False)
    assert not claude.detached
    claude.turns[-1].over.set()
    until(lambda: claude.detached, "it was never released")


def test_a_session_that_takes_no_prompt_is_released(store: Store) -> None:
    claude = FakeClaude()
    claude.refuses = True
    steering = Steering(store, lambda folder, **options: as_claude(claude))
    with pytest.raises(SessionEnded):
        steering.prompt(store.folder("s"), "one", command=False)
    assert claude.detached


def as_claude(claude: FakeClaude) -> Any:
    return claude
