"""The index: SQLite over the journals. It can be removed, and is then built again."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from claude_mpm.errors import StorageError
from claude_mpm.folders import make_private
from claude_mpm.records import Cost, Delegation, Spending, Ticket, TurnRecord
from claude_mpm.validation import NOT_JSON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from claude_mpm.wire.events import Event

T = TypeVar("T")
Found = TypeVar("Found", Ticket, Delegation)
_BUSY_SECONDS = 30.0
_LONGEST = 0.5  # seconds that others wait who write to it while many sessions are read
_RUNNING = -1  # the offset of what a turn has used that runs
_encode = msgspec.json.Encoder().encode
_decode_turn = msgspec.json.Decoder(TurnRecord).decode
# By the disk, by SQLite, or because a number or a text is none that it can keep.
_REFUSED = (sqlite3.Error, OverflowError, UnicodeError)
_LAST = 2**63 - 1  # the greatest number that SQLite has

# --- the tables, and how each is written -----------------------------------------------

SCHEMA_VERSION = 4
_SCHEMA = """
CREATE TABLE sessions (
    session TEXT PRIMARY KEY, cursor INTEGER NOT NULL DEFAULT 0,
    events INTEGER NOT NULL DEFAULT 0, not_json INTEGER NOT NULL DEFAULT 0,
    total_cost_usd REAL NOT NULL DEFAULT 0, cost_usd REAL NOT NULL DEFAULT 0,
    turns INTEGER NOT NULL DEFAULT 0);
CREATE TABLE tickets (
    session TEXT, key TEXT, offset INTEGER, state TEXT, type TEXT, body BLOB,
    PRIMARY KEY (session, key));
CREATE TABLE delegations (
    session TEXT, key TEXT, offset INTEGER, state TEXT, body BLOB, PRIMARY KEY (session, key));
CREATE TABLE turns (session TEXT, offset INTEGER, body BLOB, PRIMARY KEY (session, offset));
CREATE TABLE spending (
    session TEXT, offset INTEGER, at REAL, cost_usd REAL, tokens INTEGER,
    PRIMARY KEY (session, offset));
CREATE INDEX spending_at ON spending (at);
CREATE TABLE heard (session TEXT, id TEXT, offset INTEGER, state TEXT, PRIMARY KEY (session, id));
CREATE TABLE settled (session TEXT PRIMARY KEY, stamp TEXT, row BLOB);
"""
_TABLES = ("sessions", "tickets", "delegations", "turns", "spending", "heard", "settled")
# A delegation whose end Claude has not reported.
UNFINISHED = ("running", "announced")
_IS_UNFINISHED = f"state IN {UNFINISHED}"

_PUT_TICKET = "INSERT INTO tickets VALUES (?, ?, ?, 'open', ?, ?) ON CONFLICT DO NOTHING"
# One that the user closed stays so until Claude reports its end.
_PUT_DELEGATION = (
    "INSERT INTO delegations VALUES (?, ?, ?, ?, ?) ON CONFLICT (session, key) DO UPDATE SET"
    " body = excluded.body, state = CASE WHEN state = 'closed' AND"
    f" excluded.{_IS_UNFINISHED} THEN state ELSE excluded.state END"
)
_PUT_TURN = "INSERT OR REPLACE INTO turns VALUES (?, ?, ?)"
_PUT_SPENDING = "INSERT OR REPLACE INTO spending VALUES (?, ?, ?, ?, ?)"
_FORGET_SPENDING = "DELETE FROM spending WHERE session = ? AND offset = ?"
_PUT_SETTLED = "INSERT OR REPLACE INTO settled VALUES (?, ?, ?)"
# What was said last counts, whoever reads it first.
_PUT_HEARD = (
    "INSERT INTO heard VALUES (?, ?, ?, ?) ON CONFLICT (session, id) DO UPDATE SET"
    " offset = excluded.offset, state = excluded.state WHERE offset <= excluded.offset"
)
_ADVANCE = (
    "INSERT INTO sessions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
    " ON CONFLICT (session) DO UPDATE SET cursor = ?2, events = ?3, not_json = ?4,"
    " total_cost_usd = ?5, cost_usd = ?6, turns = ?7 WHERE cursor < ?2"
)


class Position(msgspec.Struct):
    """How far the index has read a session's journal, and what it counted on the way."""

    cursor: int = 0
    events: int = 0
    not_json: int = 0
    total_cost_usd: float = 0.0
    cost_usd: float = 0.0
    turns: int = 0

    def advance(self, cursor: int, *, events: int, not_json: int) -> None:
        """Count what was read up to an offset."""
        self.cursor = cursor
        self.events += events
        self.not_json += not_json

    def add(self, found: Event) -> None:
        """Count a turn, or what was reported of its cost."""
        self.total_cost_usd = found.data.total_cost_usd
        self.cost_usd += found.data.cost_usd
        if found.kind == "turn":
            self.turns += -1 if found.data.withdrawn else 1


class Index:
    """Keeps what was found in journals, with the cursor, in one transaction.

    Args:
        path: the database file; it is made where it is missing.

    Attributes:
        holders: how many share it.

    Raises:
        StorageError: the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.holders = 0
        # Held for each use of the connection, by whichever threads share the index; it guards the
        # next two as well.
        self._lock = threading.Lock()
        # When the transaction that several stores share is committed, in seconds of
        # time.monotonic(); 0 where each store has its own.
        self._commit_at = 0.0
        self._lost = False  # whether a shared transaction was rolled back
        try:
            make_private(path.parent)
            path.touch(mode=0o600)
            self._database = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            # At the end of the process, threads that nobody waits for may still write to it.
            weakref.finalize(self, self._database.close).atexit = False
            with _alone(path.parent):
                self._prepare()
            self._file = path.stat()
        except (OSError, *_REFUSED) as error:
            raise self._refusal(error) from error

    def is_in_place(self) -> bool:
        """Return whether the file is still the one that was opened."""
        try:
            return os.path.samestat(self.path.stat(), self._file)
        except FileNotFoundError:
            return False

    def _prepare(self) -> None:
        execute = self._database.execute
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = NORMAL")
        if self._version() == SCHEMA_VERSION:
            return
        execute("BEGIN IMMEDIATE")
        if self._version() != SCHEMA_VERSION:
            for table in _TABLES:
                execute(f"DROP TABLE IF EXISTS {table}")
            for statement in _SCHEMA.split(";"):
                execute(statement)
            execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        execute("COMMIT")

    def _version(self) -> int:
        return int(self._database.execute("PRAGMA user_version").fetchone()[0])

    def position(self, session: str) -> Position:
        """Return how far the session's journal has been read."""
        rows = self._run(
            "SELECT cursor, events, not_json, total_cost_usd, cost_usd, turns"
            " FROM sessions WHERE session = ?",
            (session,),
        )
        return self._decoded(_as_position, rows[0]) if rows else Position()

    def hold(self) -> None:
        """Count one more who shares it; called under the lock of those who share."""
        self.holders += 1

    def release(self) -> bool:
        """Count one less; return whether nobody shares it any more. Called as `hold` is."""
        self.holders -= 1
        return self.holders == 0

    def store(
        self,
        session: str,
        found: Iterable[Event],
        position: Position,
        said: Mapping[str, tuple[float, str]] | None = None,
    ) -> None:
        """Keep what was found up to `position`, and that it was read so far, or nothing of both.

        What another reader has stored already is stored again under the same keys.

        Args:
            said: what Claude said last of prompts and requests, as `heard` returns it.
        """
        with self._lock, self._transaction():
            self._store_all(list(found))
            rows = [(session, name, *last) for name, last in (said or {}).items()]
            self._database.executemany(_PUT_HEARD, rows)
            self._advance(session, position)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Keep all that is written meanwhile, or nothing; called with the lock held."""
        database = self._database
        try:
            if not database.in_transaction:  # else it belongs to a longer one
                database.execute("BEGIN IMMEDIATE")
            yield
            if time.monotonic() >= self._commit_at:
                database.execute("COMMIT")
                self._commit_at += _LONGEST if self._commit_at else 0.0
        except BaseException as error:
            if database.in_transaction:
                database.execute("ROLLBACK")
                self._lost = bool(self._commit_at)
            if isinstance(error, _REFUSED):
                raise self._refusal(error) from error
            raise

    @contextmanager
    def in_few_transactions(self) -> Iterator[None]:
        """Let everything that is stored within the block share transactions of half a second each.

        Raises:
            StorageError: something could not be written, and with it others were lost that had
                been: what is in the journals has to be read again.
        """
        with self._lock:
            self._commit_at, self._lost = time.monotonic() + _LONGEST, False
        try:
            yield
        finally:
            with self._lock:
                self._commit_at, lost = 0.0, self._lost
                if self._database.in_transaction:
                    with self._transaction():  # nothing more: it is committed
                        pass
        if lost:
            raise self._refusal(sqlite3.OperationalError("a part of it was not written"))

    def _store_all(self, found: Sequence[Event]) -> None:
        put = self._database.executemany
        records = [event.data for event in found]
        tickets = [record for record in records if isinstance(record, Ticket)]
        handed = [record for record in records if isinstance(record, Delegation)]
        turns = [record for record in records if isinstance(record, TurnRecord)]
        put(
            _PUT_TICKET,
            [(each.session, each.key, each.offset, each.type, _encode(each)) for each in tickets],
        )
        put(
            _PUT_DELEGATION,
            [(each.session, each.key, each.offset, each.state, _encode(each)) for each in handed],
        )
        put(_PUT_TURN, [(each.session, each.offset, _encode(each)) for each in turns])
        put(_FORGET_SPENDING, {(each.session, _RUNNING) for each in turns})
        put(_PUT_SPENDING, [spent for event in found if (spent := _spending_of(event))])

    def _advance(self, session: str, position: Position) -> None:
        self._database.execute(_ADVANCE, (session, *msgspec.structs.astuple(position)))

    def tickets(self, session: str | None = None, state: str | None = None) -> list[Ticket]:
        """Return tickets in the order in which they were said."""
        rows = self._all("tickets", "body, state", session=session, state=state)
        decode = msgspec.json.Decoder(Ticket).decode
        return [self._with_state(decode, row) for row in rows]

    def delegations(self, session: str | None = None, state: str | None = None) -> list[Delegation]:
        """Return delegations in the order in which they were made."""
        rows = self._all("delegations", "body, state", session=session, state=state)
        decode = msgspec.json.Decoder(Delegation).decode
        return [self._with_state(decode, row) for row in rows]

    def turns(self, session: str | None = None) -> list[TurnRecord]:
        """Return turns in the order in which they ended."""
        rows = self._all("turns", "body", session=session)
        turns = [self._decoded(_decode_turn, row[0]) for row in rows]
        return [turn for turn in turns if not turn.withdrawn]

    def newest_turns(self, session: str, before: int | None = None) -> Iterator[TurnRecord]:
        """Yield a session's turns, the last one first, and read no more than are asked for.

        Args:
            before: only those that ended at this byte of the journal, or earlier.
        """
        while True:
            rows = self._run(
                "SELECT body FROM turns WHERE session = ? AND offset < ?"
                " ORDER BY offset DESC LIMIT 16",
                (session, _LAST if before is None else before),
            )
            turns = [self._decoded(_decode_turn, row[0]) for row in rows]
            yield from (turn for turn in turns if not turn.withdrawn)
            if not turns:
                return
            before = turns[-1].offset

    def heard(self, session: str, ids: Iterable[str]) -> dict[str, tuple[float, str]]:
        """Return the last that Claude said of prompts and requests: where, and their state."""
        query = "SELECT id, offset, state FROM heard WHERE session = ? AND id = ?"
        rows = [row for each in ids for row in self._run(query, (session, each))]
        return {each: (offset, state) for each, offset, state in rows}

    def note_running(self, session: str, spent: Spending) -> None:
        """Keep what a turn has used that runs; its end takes the place of it."""
        self._run(
            _PUT_SPENDING,
            (session, _RUNNING, time.time(), spent.cost_usd, spent.tokens),
        )

    def spent(self, session: str) -> Spending:
        """Return what the turns of a session used that have ended."""
        return self._sum("session = ? AND offset <> ?", session, _RUNNING)

    def spent_since(self, moment: float, but: str) -> Spending:
        """Return what all sessions used since a moment.

        Args:
            moment: seconds since the epoch.
            but: the session whose running turn is left out.
        """
        return self._sum("at >= ? AND NOT (session = ? AND offset = ?)", moment, but, _RUNNING)

    def _sum(self, condition: str, *values: object) -> Spending:
        columns = "total(cost_usd), CAST(total(tokens) AS INTEGER)"
        row = self._run(f"SELECT {columns} FROM spending WHERE {condition}", values)[0]
        return self._decoded(_as_spending, row)

    def settled(self) -> dict[str, tuple[str, bytes]]:
        """Return what is kept of sessions that have ended: a stamp, and what `ps` says of each."""
        rows = self._run("SELECT session, stamp, row FROM settled", ())
        return {session: (str(stamp), bytes(row)) for session, stamp, row in rows}

    def settle(self, known: Mapping[str, tuple[str, bytes]]) -> None:
        """Keep that sessions have ended, each with its stamp and what `ps` says of it."""
        rows = [(session, *kept) for session, kept in known.items()]
        with self._lock, self._transaction():
            self._database.executemany(_PUT_SETTLED, rows)

    def ticket_count(self, session: str) -> int:
        """Return how many tickets a session has."""
        query = "SELECT count(*) FROM tickets WHERE session = ?"
        return int(self._run(query, (session,))[0][0])

    def set_state(self, kind: str, session: str, key: str, state: str) -> None:
        """Note what the user decided about a "ticket", or an unfinished "delegation"."""
        condition = f" AND {_IS_UNFINISHED}" if kind == "delegation" else ""
        self._run(
            f"UPDATE {kind}s SET state = ? WHERE session = ? AND key = ?{condition}",
            (state, session, key),
        )

    def forget(self, session: str) -> None:
        """Drop everything about a session, so that its journal is read again."""
        with self._lock, self._transaction():
            for table in _TABLES:
                self._database.execute(f"DELETE FROM {table} WHERE session = ?", (session,))

    def forget_all(self) -> None:
        """Drop everything about all sessions."""
        with self._lock, self._transaction():
            for table in _TABLES:
                self._database.execute(f"DELETE FROM {table}")

    def close(self) -> None:
        """Close the database; safe to call twice."""
        self._database.close()

    def _all(self, table: str, columns: str, **where: str | None) -> list[Any]:
        given = {name: value for name, value in where.items() if value is not None}
        condition = " AND ".join(f"{name} = ?" for name in given) or "1"
        query = f"SELECT {columns} FROM {table} WHERE {condition} ORDER BY rowid"
        return self._run(query, tuple(given.values()))

    def _run(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        with self._lock:
            try:
                return self._database.execute(query, values).fetchall()
            except _REFUSED as error:
                raise self._refusal(error) from error

    def _with_state(self, decode: Callable[[Any], Found], row: tuple[Any, ...]) -> Found:
        found = self._decoded(decode, row[0])
        return found if found.state == row[1] else msgspec.structs.replace(found, state=row[1])

    def _decoded(self, decode: Callable[[Any], T], kept: Any) -> T:
        """Return what was kept; the file may be damaged."""
        try:
            return decode(kept)
        except (TypeError, *NOT_JSON) as error:
            raise self._refusal(error) from error

    def _refusal(self, error: Exception) -> StorageError:
        reason = " ".join(str(error).split())  # SQLite quotes what it finds in the file
        return StorageError(
            f"cannot keep the index in {self.path}: {reason};"
            " check the disk, or remove the file: it is rebuilt"
        )


def _spending_of(event: Event) -> tuple[Any, ...] | None:
    """Return the row of what an event reports as spent; None where it reports nothing."""
    match event.data:
        case TurnRecord() as turn:
            session, at, cost, tokens = turn.session, turn.ended_at, turn.cost_usd, turn.tokens
        case Cost() as sum_:
            session, at, cost, tokens = sum_.session, sum_.told_at, sum_.cost_usd, 0
        case _:
            return None
    return session, event.offset, time.time() if at is None else at, cost, tokens


def _as_spending(row: tuple[Any, ...]) -> Spending:
    return msgspec.convert(dict(zip(("cost_usd", "tokens"), row, strict=True)), Spending)


def _as_position(row: tuple[Any, ...]) -> Position:
    return msgspec.convert(dict(zip(Position.__struct_fields__, row, strict=True)), Position)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold off others who open the same index: SQLite waits for none when it changes to WAL."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
