"""Sessions that have ended and were read: nothing of them is looked at again until they change."""

from __future__ import annotations

import json
import os
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from calls import call, make_session, said
from claude_mpm.journal.inbox import Inbox
from claude_mpm.journal.layout import SessionFolder
from claude_mpm.sessions.index import Index
from claude_mpm.sessions.settled import Settled, stamp
from claude_mpm.sessions.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("home")
LONG_AGO = 1_000_000_000.0


def age(folder: SessionFolder) -> None:
    """Let a session be one that nobody has touched for long."""
    for path in (folder.exchange, folder.meta_file, folder.path):
        os.utime(path, (LONG_AGO, LONG_AGO))


def made(name: str = "one") -> SessionFolder:
    folder = make_session(name, ["TODO: sweep the floor"])
    age(folder)
    return folder


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the sessions whose records are read from now on."""
    seen: list[str] = []
    read = SessionFolder.read_meta

    def note(folder: SessionFolder) -> Any:
        seen.append(folder.path.name)
        return read(folder)

    monkeypatch.setattr(SessionFolder, "read_meta", note)
    return seen


def test_what_has_settled_is_listed_the_same_and_not_looked_at(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made("one")
    made("two")
    first = call(capsys, "ps", "--all", "--json").json
    seen = reads(monkeypatch)
    assert call(capsys, "ps", "--all", "--json").json == first
    assert call(capsys, "ps", "--json").json == first
    (_, ticket) = call(capsys, "tickets", "--json").json
    assert ticket["title"] == "sweep the floor"
    assert seen == []


def grow(folder: SessionFolder) -> None:
    folder.journal.append(json.dumps(said("TODO: mop it, too")).encode() + b"\n")


def put(folder: SessionFolder) -> None:
    Inbox(folder).put(b'{"type":"user","uuid":"u","message":{"content":"more"}}\n')


def start(folder: SessionFolder) -> None:
    folder.prepare_host()


def move(folder: SessionFolder) -> None:
    meta = folder.read_meta()
    meta.cwd = "/elsewhere"
    folder.write_meta(meta)


@pytest.mark.parametrize("change", [grow, put, start, move])
def test_one_that_was_changed_is_looked_at_again(
    change: Callable[[SessionFolder], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = made()
    before = call(capsys, "ps", "--all", "--json").json
    change(folder)
    seen = reads(monkeypatch)
    after = call(capsys, "ps", "--all", "--json").json
    assert "one" in seen
    if change is grow:
        assert after[0]["tickets"] == before[0]["tickets"] + 1 == 2
    else:
        assert after != before


def test_one_that_has_just_changed_is_not_taken_for_settled(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = make_session("new", ["hello"])
    later = time.time() + 60.0  # a machine that is busy may need long until it is listed
    os.utime(folder.path, (later, later))
    call(capsys, "ps", "--all")
    assert Store().index.settled() == {}


def test_one_without_an_exit_status_is_not_either(capsys: pytest.CaptureFixture[str]) -> None:
    folder = made()
    folder.exit_file.remove()
    age(folder)
    call(capsys, "ps", "--all")
    call(capsys, "tickets")
    assert Store().index.settled() == {}


def test_one_whose_record_is_damaged_is_named_each_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = made()
    call(capsys, "tickets")
    folder.meta_file.write_text("{")
    for _ in range(2):
        assert "session one is left out" in call(capsys, "tickets").err


def test_a_kept_row_that_is_none_is_made_again(capsys: pytest.CaptureFixture[str]) -> None:
    made()
    rows = call(capsys, "ps", "--all", "--json").json
    store = Store()
    (kept,) = store.index.settled().values()
    store.index.settle({"one": (kept[0], b"{}")})
    assert call(capsys, "ps", "--all", "--json").json == rows


def test_a_link_in_the_place_of_the_journal_settles_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = made()
    (folder.exchange / "out.jsonl").rename(folder.path / "elsewhere.jsonl")
    (folder.exchange / "out.jsonl").symlink_to(folder.path / "elsewhere.jsonl")
    age(folder)
    (entry,) = Store().entries()
    assert stamp(entry) == ""
    assert Settled(Store().index).row(entry, "") is None


def test_a_rebuild_forgets_what_has_settled(capsys: pytest.CaptureFixture[str]) -> None:
    made()
    call(capsys, "ps", "--all")
    assert list(Store().index.settled()) == ["one"]
    Store().rebuild()
    assert Store().index.settled() == {}
    assert [each.title for each in Store().index.tickets()] == ["sweep the floor"]


def test_a_reading_that_was_interrupted_is_finished_by_another_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = make_session("long", ["TODO: sweep the floor", "x" * 5_000, "TODO: water the flowers"])
    first, stored = Store(), Index.store

    def interrupted(index: Index, *found: Any) -> None:
        stored(index, *found)
        first.interrupt()

    with monkeypatch.context() as patch, closing(first):
        patch.setattr(Index, "store", interrupted)
        first.catch_up(folder)
        assert [ticket.title for ticket in first.index.tickets()] == ["sweep the floor"]
    with closing(Store()) as second:
        second.catch_up(folder)
        titles = [ticket.title for ticket in second.index.tickets()]
    assert titles == ["sweep the floor", "water the flowers"]
