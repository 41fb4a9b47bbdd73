"""The index: its file full of garbage, and whatever a journal may bring into it."""

from __future__ import annotations

import shutil
import sqlite3
from functools import cache
from random import Random

import msgspec
from judging import Target
from samples import JSON_TOKENS, PLAIN_TEXT, STREAM_JSON, TRANSCRIPT
from workspace import section, workspace

from claude_mpm.errors import StorageError
from claude_mpm.journal.layout import Meta, SessionFolder
from claude_mpm.records import TurnRecord
from claude_mpm.sessions.index import Index, Position
from claude_mpm.sessions.store import Store
from claude_mpm.wire.events import Event

_WIRES = ("stream-json", "transcript", "plain-text")


def _a_good_file() -> bytes:
    folder = workspace() / "seed"
    index = Index(folder / "index.sqlite")
    turn = TurnRecord(session="s", offset=0, end=9)
    index.store("s", [Event("turn", turn, 0, 9)], Position(9, 1))
    index.close()
    with sqlite3.connect(folder / "index.sqlite") as database:
        database.execute("PRAGMA journal_mode = DELETE")
        database.execute("VACUUM")
    database.close()
    return (folder / "index.sqlite").read_bytes()


def index_file(data: bytes) -> None:
    """A file that is none of ours: refused in one line, or as good as any other."""
    folder = workspace() / "garbage"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if data[:1] == b"p":  # a good file with a few other bytes
        good, random = bytearray(_good()), Random(data)
        for _ in range(random.choice((1, 3, 30))):
            good[random.randrange(len(good))] = random.randrange(256)
        data = bytes(good)
    (folder / "index.sqlite").write_bytes(data)
    try:
        index = Index(folder / "index.sqlite")
        try:
            _use(index)
        finally:
            index.close()
    except StorageError as error:
        assert "\n" not in str(error), "an error of several lines"
        assert "index.sqlite" in str(error)


@cache
def _good() -> bytes:
    return _a_good_file()


def _use(index: Index) -> None:
    index.position("s")
    index.tickets()
    index.delegations("s")
    index.turns()
    list(index.newest_turns("s"))
    turn = TurnRecord(session="s", offset=99, end=100)
    index.store("s", [Event("turn", turn, 99, 100)], Position(100, 2))


@cache
def _store() -> Store:
    return Store(workspace() / "journals")


def journal(data: bytes) -> None:
    """A journal of any content: read to its end, in one go as in two."""
    wire, content = _WIRES[data[0] % 3] if data else _WIRES[0], data[1:]
    store, folder = _store(), _store().folder("s")
    shutil.rmtree(folder.path, ignore_errors=True)
    folder.create()
    folder.write_meta(
        Meta(session_id="s", claude_session_id="c", orchestrator="local", environment="local",
             wire=wire, cwd="/", created_at=1.0)
    )  # fmt: skip
    whole = _read(store, folder, content, [len(content)])
    cut = len(content) // 2
    halves = _read(store, folder, content, [cut, len(content)])
    assert whole == halves, "read in two goes, it says something else"


def _read(store: Store, folder: SessionFolder, content: bytes, goes: list[int]) -> list[object]:
    folder.exit_file.path.unlink(missing_ok=True)
    store.index.forget("s")
    for end in goes:
        folder.journal.path.write_bytes(content[:end])
        if end == len(content):
            folder.exit_file.write(b"0\n")
        store.catch_up(folder)
    position = store.index.position("s")
    assert position.cursor == len(content), "bytes are not accounted for"
    turns = [(t.offset, t.end, t.prompts, t.input_tokens) for t in store.index.turns("s")]
    tickets = [(t.key, t.offset) for t in store.index.tickets("s")]
    delegations = [(d.key, d.offset, d.state) for d in store.index.delegations("s")]
    return [position.events, position.not_json, turns, tickets, delegations]


def records(data: bytes) -> None:
    """Records with any numbers and texts: kept, or refused in one line."""
    try:
        record = msgspec.json.decode(data, type=TurnRecord)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    index = _store().index
    index.forget(record.session)
    try:
        index.store(record.session, [Event("turn", record, 0, 1)], Position(record.end, 1))
    except StorageError as error:
        assert "\n" not in str(error)
        return
    assert index.turns(record.session) == [record]


_JOURNALS = tuple(
    section(n, each)
    for n, all_ in enumerate((STREAM_JSON, TRANSCRIPT, PLAIN_TEXT))
    for each in all_
)
_RECORD = (
    b'{"session":"s","offset":1,"end":2,"prompts":["u"],"message":"m","total_cost_usd":1.0}',
)
TARGETS = (
    Target("index: its file", index_file, (b"p1", b"SQLite format 3\0garbage", b""), (b"p",)),
    Target("index: journals", journal, _JOURNALS, JSON_TOKENS),
    Target("index: records", records, _RECORD, JSON_TOKENS),
)
