"""The index: found things and cursor together, or nothing of both."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from claude_mpm.errors import StorageError
from claude_mpm.records import Delegation, Ticket, TurnRecord
from claude_mpm.sessions.index import Index, Position
from claude_mpm.wire.events import Event

if TYPE_CHECKING:
    from pathlib import Path

# What the index itself does at the end of the process was registered later, so it is done first.
AT_THE_END = """
import atexit, sys
from pathlib import Path

def store():
    index.store("s", [], Position(cursor=1))
    print(index.position("s").cursor)

atexit.register(store)
from claude_mpm.sessions.index import Index, Position
index = Index(Path(sys.argv[1]))
"""


def found(record: object) -> Event:
    return Event("found", record, 0, 1)


def ticket(key: str, session: str = "s") -> Ticket:
    return Ticket(key=key, session=session, type="task", title=f"Title {key}")


def test_what_is_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "index.sqlite"
    turn = TurnRecord(session="s", offset=5, end=9, prompts=("u",), cost_usd=0.5)
    delegation = Delegation(key="d", session="s", agent="qa")
    records = [ticket("a"), delegation, turn]
    index = Index(path)
    index.store("s", map(found, records), Position(cursor=9, events=3, turns=1))
    index.close()
    index.close()
    again = Index(path)
    assert again.tickets() == [ticket("a")]
    assert again.delegations("s", state="running") == [delegation]
    assert again.turns("s") == [turn]
    assert again.position("s") == Position(cursor=9, events=3, turns=1)
    assert again.position("other") == Position()
    again.close()


def test_the_same_ticket_is_one_and_stays_closed(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.sqlite")
    index.store("s", [found(ticket("a")), found(ticket("a"))], Position(cursor=1))
    index.set_state("ticket", "s", "a", "closed")
    index.store("s", [found(ticket("a")), found(ticket("b"))], Position(cursor=2))
    assert [(t.key, t.state) for t in index.tickets()] == [("a", "closed"), ("b", "open")]
    assert [t.key for t in index.tickets(state="open")] == ["b"]
    index.forget("s")
    assert index.tickets() == []
    index.close()


def test_a_reader_that_is_behind_does_not_turn_the_cursor_back(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.sqlite")
    index.store("s", [], Position(cursor=100, events=7))
    index.store("s", [], Position(cursor=50, events=3))
    assert index.position("s") == Position(cursor=100, events=7)
    index.close()


def test_a_failure_in_the_middle_keeps_nothing(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.sqlite")
    bad = Ticket(key="b", session="s", type="task", title="t", offset=1 << 70)
    with pytest.raises(StorageError):
        index.store("s", [found(ticket("a")), found(bad)], Position(cursor=5))
    assert index.tickets() == []
    assert index.position("s") == Position()
    index.store("s", [found(ticket("a"))], Position(cursor=5))
    assert len(index.tickets()) == 1
    index.close()


def test_an_index_of_another_release_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE tickets (something TEXT)")
    database.execute("PRAGMA user_version = 99")
    database.commit()
    database.close()
    index = Index(path)
    assert index.tickets() == []
    index.close()


def test_a_file_that_is_no_database_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    path.write_text("this is no database, and it is long enough to be read as one" * 20)
    with pytest.raises(StorageError, match=r"cannot keep the index in .*remove the file"):
        Index(path)


def test_many_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"

    def write(session: str) -> None:
        index = Index(path)
        for number in range(20):
            event = found(ticket(str(number), session))
            index.store(session, [event], Position(cursor=number + 1))
        index.close()

    threads = [threading.Thread(target=write, args=(f"s{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    index = Index(path)
    assert len(index.tickets()) == 80
    assert {index.position(f"s{n}").cursor for n in range(4)} == {20}
    index.close()


def test_many_who_begin_at_once_share_a_new_index(tmp_path: Path) -> None:
    """SQLite does not wait for others while it makes the file; whoever came second failed."""
    failures: list[Exception] = []
    together = threading.Barrier(6)

    def begin(path: Path) -> None:
        together.wait()
        try:
            Index(path).close()
        except StorageError as error:
            failures.append(error)

    for number in range(40):
        path = tmp_path / str(number) / "index.sqlite"
        threads = [threading.Thread(target=begin, args=(path,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def test_a_thread_that_outlives_the_main_one_may_still_store(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_END, tmp_path / "index.sqlite"],
        capture_output=True, text=True, timeout=60.0, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("1\n", "")
    again = Index(tmp_path / "index.sqlite")
    assert again.position("s") == Position(cursor=1)
    again.close()
