"""The faults do what their names say, and end when they are told to."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from claude_mpm.testing.faults import (
    Dice,
    Killer,
    clock_jump,
    cuts,
    full_disk,
    kill,
    slow_reader,
    stall,
    tear,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = 60.0
_ECHO = "import sys\nfor line in sys.stdin: sys.stdout.write(line); sys.stdout.flush()"
_WRITE = """
import sys
for line in sys.stdin:
    try:
        open(line.strip(), "w", buffering=1).write("x\\n")
        print("written", flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
"""


def start(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[str]]:
    process = start(_ECHO)
    yield process
    process.kill()
    process.communicate()


def ask(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def state_of(pid: int) -> str:
    done = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()[:1]


def test_a_kill_kills_and_counts(victim: subprocess.Popen[str]) -> None:
    assert kill([victim.pid]) == 1
    assert victim.wait(SECONDS) == -signal.SIGKILL
    assert kill([victim.pid]) == 0


def test_a_killer_strikes_at_its_moment_or_is_called_off(victim: subprocess.Popen[str]) -> None:
    with Killer(SECONDS, lambda: [victim.pid]):
        ask(victim, "alive")
        assert answer(victim) == "alive"
    assert victim.poll() is None
    with Killer(0.0, lambda: [victim.pid]) as killer:
        victim.wait(SECONDS)
    assert killer.killed == 1


def test_who_is_stalled_stands_still_and_then_goes_on(victim: subprocess.Popen[str]) -> None:
    ask(victim, "before")
    assert answer(victim) == "before"
    with stall(victim.pid):
        deadline = time.monotonic() + SECONDS
        while state_of(victim.pid) != "T":
            assert time.monotonic() < deadline
        ask(victim, "meanwhile")
        assert state_of(victim.pid) == "T"
    assert answer(victim) == "meanwhile"


def test_a_full_disk_takes_nothing_until_there_is_space(tmp_path: Path) -> None:
    process = start(_WRITE)
    try:
        ask(process, str(tmp_path / "one"))
        assert answer(process) == "written"
        with full_disk(process.pid):
            ask(process, str(tmp_path / "two"))
            assert answer(process) == "File too large"
        ask(process, str(tmp_path / "three"))
        assert answer(process) == "written"
    finally:
        process.kill()
        process.communicate()


def test_a_clock_that_jumps_leaves_the_monotonic_one_alone() -> None:
    before, monotonic = time.time(), time.monotonic()
    with clock_jump(-86_400.0):
        assert time.time() < before - 80_000.0
        assert 0 <= time.monotonic() - monotonic < SECONDS
    assert time.time() >= before


def test_a_torn_journal_ends_within_its_last_line(tmp_path: Path) -> None:
    journal = tmp_path / "out.jsonl"
    for number in range(50):
        journal.write_bytes(b'{"a":1}\n{"bb":22}\n')
        taken = tear(journal, Dice(number))
        left = journal.read_bytes()
        assert left + taken == b'{"a":1}\n{"bb":22}\n'
        assert len(b'{"a":1}\n') < len(left)
        assert taken
    journal.write_bytes(b"")
    assert tear(journal, Dice(1)) == b""


def test_a_slow_reader_and_the_cuts_of_a_link_follow_the_dice() -> None:
    slow_reader(Dice(1), 0.001)(object())
    allowance = cuts(Dice(1), 10, 20)
    assert all(10 <= allowance() <= 20 for _ in range(20))
