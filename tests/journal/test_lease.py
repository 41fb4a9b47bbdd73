"""One session, one owner: the number moves on, and whoever comes too late is told who has it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import msgspec
import pytest

from claude_mpm.errors import NotOwner, StorageError
from claude_mpm.journal import lease
from claude_mpm.journal.layout import SessionFolder
from claude_mpm.journal.lease import Owner, Ownership, SessionLock, read_owner

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 60.0
_HOLD = """
import sys
from pathlib import Path
from claude_mpm.journal.layout import SessionFolder
from claude_mpm.journal.lease import SessionLock
lock = SessionLock(SessionFolder(Path(sys.argv[1])))
print(lock.held, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> SessionFolder:
    folder = SessionFolder(tmp_path / "session")
    folder.create()
    return folder


def test_each_owner_has_a_higher_number_and_says_when_it_lets_go(folder: SessionFolder) -> None:
    assert read_owner(folder) == Owner()
    for number in (1, 2, 3):
        lock = SessionLock(folder)
        assert (lock.held, lock.owner.number, lock.owner.pid) == (True, number, os.getpid())
        lock.check()
        assert not read_owner(folder).released
        lock.release()
        lock.release()
        assert read_owner(folder).released


def test_the_second_is_told_who_has_it_and_since_when(folder: SessionFolder) -> None:
    first, second = SessionLock(folder), SessionLock(folder)
    assert not second.held
    assert second.owner == first.owner
    said = second.refusal()
    assert f"{os.getpid()}@{os.uname().nodename} since 20" in said
    assert "claude-mpm attach session" in said
    first.release()


def test_death_lets_go_and_the_next_one_does_not_take_the_dead_for_the_owner(
    folder: SessionFolder,
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(folder.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"True\n"
    refused = SessionLock(folder)
    assert (refused.held, refused.owner.pid) == (False, holder.pid)
    holder.kill()
    holder.communicate()
    assert not read_owner(folder).released
    lock = SessionLock(folder)
    assert (lock.held, lock.owner.number) == (True, 2)
    lock.release()


def test_what_is_let_go_is_free_though_a_process_that_is_just_starting_has_it_open(
    folder: SessionFolder,
) -> None:
    lock = SessionLock(folder)
    copy = os.dup(lock._descriptor)  # as a fork has it until it runs its program
    lock.release()
    following = SessionLock(folder)
    assert following.held
    following.release()
    os.close(copy)


def test_whoever_lost_the_number_may_do_nothing_more(folder: SessionFolder) -> None:
    ownership = Ownership(folder)
    ownership.check()  # nothing was tried yet, so nothing was lost
    assert ownership.claim()
    elsewhere = Owner(number=7, host="another-machine", pid=1, at=1.0)
    folder.write(folder.owner, msgspec.json.encode(elsewhere))
    for _ in range(2):
        with pytest.raises(NotOwner, match="1@another-machine since 1970"):
            ownership.check()
    ownership.release()
    assert read_owner(folder) == elsewhere, "what another wrote is not ours to change"


def test_a_follower_is_not_kept_from_asking(folder: SessionFolder) -> None:
    owner, follower = Ownership(folder), Ownership(folder)
    assert owner.claim()
    assert not follower.claim()
    follower.check()
    assert follower.owner == owner.owner
    owner.release()


def test_a_session_that_another_machine_runs_is_not_taken(
    folder: SessionFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "machine", lambda: "first-machine")
    SessionLock(folder).release()
    folder.write_pids(4711, 4712)  # Claude was started, and nobody has said that it ended
    monkeypatch.setattr(lease, "machine", lambda: "second-machine")
    lock = SessionLock(folder)
    assert not lock.held
    assert f"rm {folder.owner}" in lock.refusal()
    assert "@first-machine since" in lock.refusal()
    folder.exit_file.write(b"0\n")
    lock = SessionLock(folder)
    assert lock.held, "it is known that Claude has ended"
    lock.release()


def test_of_many_who_come_at_once_one_wins(folder: SessionFolder) -> None:
    together = threading.Barrier(20)
    locks = []

    def come() -> None:
        together.wait(SECONDS)
        locks.append(SessionLock(folder))

    threads = [threading.Thread(target=come) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert sum(lock.held for lock in locks) == 1
    assert {lock.owner.number for lock in locks} == {1}
    for lock in locks:
        lock.release()


def test_an_owner_that_a_power_cut_left_damaged_keeps_nobody_out(folder: SessionFolder) -> None:
    folder.write(folder.owner, b'{"number": 3, "ho')
    lock = SessionLock(folder)
    assert lock.held
    lock.release()


def test_a_disk_that_takes_no_owner_gives_no_session(
    folder: SessionFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lease, "write_whole", refuse)
    with pytest.raises(StorageError, match="No space left"):
        SessionLock(folder)
    monkeypatch.undo()
    SessionLock(folder).release()
