"""The index: SQLite over the journals. It can be thrown away and is then built anew."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from claude_mpm.checks import NOT_JSON
from claude_mpm.errors import StorageError
from claude_mpm.records import Delegation, Ticket, TurnRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from claude_mpm.wire.events import Event

T = TypeVar("T")
Found = TypeVar("Found", Ticket, Delegation)
SCHEMA_VERSION = 1
_BUSY_SECONDS = 30.0
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
"""
# A delegation whose end Claude has not told.
UNFINISHED = ("running", "announced")
_UNFINISHED = f"state IN {UNFINISHED}"
_encode = msgspec.json.Encoder().encode
_decode_turn = msgspec.json.Decoder(TurnRecord).decode
# By the disk, by SQLite, or because a number or a text is none that it can keep.
_REFUSED = (sqlite3.Error, OverflowError, UnicodeError)
_LAST = 2**63 - 1  # the greatest number that SQLite has


class Position(msgspec.Struct, frozen=True):
    """How far the index has read a session's journal, and what it counted on the way."""

    cursor: int = 0
    events: int = 0
    not_json: int = 0
    total_cost_usd: float = 0.0
    cost_usd: float = 0.0
    turns: int = 0


class Index:
    """Keeps what was found in journals, with the cursor, in one transaction.

    Args:
        path: the database file; it is made where it is missing.

    Attributes:
        holders: how many share it; whoever shares it counts.

    Raises:
        StorageError: the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.holders = 0
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._database = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            weakref.finalize(self, self._database.close)
            with _alone(path.parent):
                self._prepare()
            self._file = path.stat()
        except (OSError, *_REFUSED) as error:
            raise self._refusal(error) from error

    def is_in_place(self) -> bool:
        """Tell whether the file is still the one that was opened."""
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
            for table in ("sessions", "tickets", "delegations", "turns"):
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

    def store(self, session: str, found: Iterable[Event], position: Position) -> None:
        """Keep what was found up to `position`, and that it was read so far, or nothing of both.

        What another reader has stored already is stored again under the same keys.
        """
        with self._lock:
            try:
                self._database.execute("BEGIN IMMEDIATE")
                for event in found:
                    self._store_one(event.data)
                self._advance(session, position)
                self._database.execute("COMMIT")
            except _REFUSED as error:
                raise self._refusal(error) from error
            finally:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")

    def _store_one(self, record: object) -> None:
        execute = self._database.execute
        match record:
            case Ticket():
                execute(
                    "INSERT INTO tickets VALUES (?, ?, ?, 'open', ?, ?) ON CONFLICT DO NOTHING",
                    (record.session, record.key, record.offset, record.type, _encode(record)),
                )
            case Delegation():
                # One that the user closed stays so until Claude tells of its end.
                execute(
                    "INSERT INTO delegations VALUES (?, ?, ?, ?, ?)"
                    " ON CONFLICT (session, key) DO UPDATE SET"
                    " body = excluded.body, state = CASE WHEN state = 'closed' AND"
                    f" excluded.{_UNFINISHED} THEN state ELSE excluded.state END",
                    (record.session, record.key, record.offset, record.state, _encode(record)),
                )
            case TurnRecord():
                execute(
                    "INSERT OR REPLACE INTO turns VALUES (?, ?, ?)",
                    (record.session, record.offset, _encode(record)),
                )

    def _advance(self, session: str, position: Position) -> None:
        self._database.execute(
            "INSERT INTO sessions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
            " ON CONFLICT (session) DO UPDATE SET cursor = ?2, events = ?3, not_json = ?4,"
            " total_cost_usd = ?5, cost_usd = ?6, turns = ?7 WHERE cursor < ?2",
            (session, *msgspec.structs.astuple(position)),
        )

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
        return [self._decoded(_decode_turn, row[0]) for row in rows]

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
            yield from turns
            if not turns:
                return
            before = turns[-1].offset

    def set_state(self, kind: str, session: str, key: str, state: str) -> None:
        """Note what the user decided about a "ticket", or an unfinished "delegation"."""
        condition = f" AND {_UNFINISHED}" if kind == "delegation" else ""
        self._run(
            f"UPDATE {kind}s SET state = ? WHERE session = ? AND key = ?{condition}",
            (state, session, key),
        )

    def forget(self, session: str) -> None:
        """Drop everything about a session, so that its journal is read anew."""
        for table in ("sessions", "tickets", "delegations", "turns"):
            self._run(f"DELETE FROM {table} WHERE session = ?", (session,))

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
        return msgspec.structs.replace(self._decoded(decode, row[0]), state=row[1])

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
            " check the disk, or remove the file: it is built anew"
        )


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
