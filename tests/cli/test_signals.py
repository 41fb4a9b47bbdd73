"""SIGTERM and Ctrl-C end a command and its sessions, once, whatever it is doing just then."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from claude_mpm.journal.layout import SessionFolder
from command import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS = 60.0
ENDS = {signal.SIGINT: 130, signal.SIGTERM: 143}
# A command that sends itself a signal at one place of its way.
SIGNALLED = """
import logging, signal, sys, threading
from claude_mpm.cli.main import main
from claude_mpm.engine.live_session import LiveSession
from claude_mpm.orchestration.orchestrator import MPMOrchestrator

number, place = int(sys.argv[1]), sys.argv[2]
left = [number] * (2 if place == "twice in a stop" else 1)

def signalled():
    if left:
        signal.raise_signal(left.pop())

class Dropped:
    def __del__(self):
        signalled()

def drop():
    Dropped()
    threading.Event().wait()  # nobody sets it

def around(owner, name, before=None, after=None):
    kept = getattr(owner, name)
    def method(*arguments, **named):
        if before is not None:
            before()
        returned = kept(*arguments, **named)
        if after is not None:
            after()
        return returned
    setattr(owner, name, method)

if place == "in a line of the log":
    around(logging.StreamHandler, "flush", before=signalled)
    log = logging.getLogger("claude_mpm")
    log.addHandler(logging.StreamHandler())
    around(MPMOrchestrator, "first_turn", before=lambda: log.warning("a line"))
elif place == "in a start":
    around(LiveSession, "launch", after=signalled)
elif place == "while it is taken up":
    around(LiveSession, "attach", after=signalled)
elif place == "behind a start":
    around(MPMOrchestrator, "start_or_raise", after=signalled)
elif place == "in a finalizer":
    around(MPMOrchestrator, "first_turn", before=drop)
elif place == "before a stop":
    around(MPMOrchestrator, "__exit__", before=signalled)
elif place in ("in a stop", "twice in a stop"):
    around(LiveSession, "end", before=signalled)
else:
    assert place == "in a detachment"
    around(LiveSession, "detach", before=signalled)
main(sys.argv[3:])
"""


@pytest.fixture
def state(tmp_path: Path, stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder of all commands, whose Claude is the stand-in."""
    state = tmp_path / "state"
    monkeypatch.setenv("CLAUDE_PATH", str(stand_in))
    monkeypatch.setenv("CLAUDE_MPM_STATE_DIR", str(state))
    return state


def signalled(number: int, place: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command that is sent a signal at a place; it ends by it, with one line of error."""
    done = run([sys.executable, "-c", SIGNALLED, str(int(number)), place, *words])
    assert done.returncode == ENDS[signal.Signals(number)], done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("claude-mpm: ")]
    assert said == ["claude-mpm: interrupted" if number == signal.SIGINT else
                    "claude-mpm: ended by signal 15"], done.stderr  # fmt: skip
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    return done


def run(command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS,
        check=False,
    )  # fmt: skip


def session(state: Path) -> SessionFolder:
    (path,) = (state / "sessions").iterdir()
    return SessionFolder(path)


def starts() -> int:
    """Return how often Claude was started."""
    log = Path(os.environ["STAND_IN_LOG"])
    return sum("argv" in json.loads(line) for line in log.read_text().splitlines())


@pytest.mark.parametrize("number", ENDS)
@pytest.mark.parametrize(
    "place",
    [
        "in a line of the log", "in a start", "behind a start", "in a finalizer", "before a stop",
        "in a stop", "twice in a stop",
    ],
)  # fmt: skip
def test_a_signal_ends_the_session_wherever_it_comes(state: Path, number: int, place: str) -> None:
    signalled(number, place, "run", "-o", "start_retries=2", "hello")
    assert session(state).has_ended()
    assert starts() == 1


@pytest.mark.parametrize("number", ENDS)
def test_a_session_that_is_being_left_is_left(state: Path, number: int) -> None:
    done = signalled(number, "in a detachment", "run", "--detach", "hello")
    folder = session(state)
    assert done.stdout.strip() == folder.path.name
    assert folder.has_host()
    run([PROGRAM, "stop", "--all"])


@pytest.mark.parametrize("number", ENDS)
@pytest.mark.parametrize("words", [["attach"], ["resume"]], ids=["attach", "resume"])
@pytest.mark.parametrize("place", ["while it is taken up", "behind a start"])
def test_who_takes_up_a_session_that_runs_leaves_it_running(
    state: Path, number: int, words: list[str], place: str
) -> None:
    name = run([PROGRAM, "run", "--detach", "hello"]).stdout.strip()
    signalled(number, place, *words, name, *(["go on"] if words == ["resume"] else []))
    assert session(state).has_host()
    run([PROGRAM, "stop", "--all"])


@pytest.mark.parametrize("number", ENDS)
def test_who_starts_an_ended_session_again_ends_it(state: Path, number: int) -> None:
    run([PROGRAM, "run", "hello"])
    signalled(number, "behind a start", "resume", session(state).path.name, "go on")
    assert session(state).has_ended()
    assert starts() == 2
