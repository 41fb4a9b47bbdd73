"""The tables of the index, and how each is written."""

from __future__ import annotations

SCHEMA_VERSION = 4
SCHEMA = """
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
TABLES = ("sessions", "tickets", "delegations", "turns", "spending", "heard", "settled")
# A delegation whose end Claude has not reported.
UNFINISHED = ("running", "announced")
IS_UNFINISHED = f"state IN {UNFINISHED}"

PUT_TICKET = "INSERT INTO tickets VALUES (?, ?, ?, 'open', ?, ?) ON CONFLICT DO NOTHING"
# One that the user closed stays so until Claude reports its end.
PUT_DELEGATION = (
    "INSERT INTO delegations VALUES (?, ?, ?, ?, ?) ON CONFLICT (session, key) DO UPDATE SET"
    " body = excluded.body, state = CASE WHEN state = 'closed' AND"
    f" excluded.{IS_UNFINISHED} THEN state ELSE excluded.state END"
)
PUT_TURN = "INSERT OR REPLACE INTO turns VALUES (?, ?, ?)"
PUT_SPENDING = "INSERT OR REPLACE INTO spending VALUES (?, ?, ?, ?, ?)"
FORGET_SPENDING = "DELETE FROM spending WHERE session = ? AND offset = ?"
PUT_SETTLED = "INSERT OR REPLACE INTO settled VALUES (?, ?, ?)"
# What was said last counts, whoever reads it first.
PUT_HEARD = (
    "INSERT INTO heard VALUES (?, ?, ?, ?) ON CONFLICT (session, id) DO UPDATE SET"
    " offset = excluded.offset, state = excluded.state WHERE offset <= excluded.offset"
)
ADVANCE = (
    "INSERT INTO sessions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
    " ON CONFLICT (session) DO UPDATE SET cursor = ?2, events = ?3, not_json = ?4,"
    " total_cost_usd = ?5, cost_usd = ?6, turns = ?7 WHERE cursor < ?2"
)
