"""Sessions on the terminal: one per row, or one in full."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from claude_mpm.capabilities.strangers import strangers_of
from claude_mpm.cli.output import age, echo, styled
from claude_mpm.conversation.reasons import kept_reasons, recorded_verdict
from claude_mpm.engine.command_line import asked_for_value
from claude_mpm.journal.prompts import last_prompt
from claude_mpm.journal.rate_limited import clock
from claude_mpm.journal.secrets import redactor_of
from claude_mpm.printable import one_line, shortened
from claude_mpm.sessions.status import State, Status, read_status, undelivered
from claude_mpm.validation import NOT_JSON, local_time
from claude_mpm.wire import StreamJson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from claude_mpm.cli.app import App
    from claude_mpm.conversation.verdict import Verdict
    from claude_mpm.fleet.elsewhere import SessionElsewhere
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.records import TurnRecord
    from claude_mpm.sessions.store import Store

COLUMNS = (
    "session", "state", "turns", "cost", "tickets", "age", "orchestrator", "folder", "last prompt",
)  # fmt: skip
COLUMNS_EVERYWHERE = (
    "session", "place", "state", "cost", "tickets", "age", "known", "folder", "last prompt",
)  # fmt: skip
_PLACE, _PROMPT = 24, 40  # characters of a cell


class SessionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One session as `ps --json` prints it."""

    session: str
    state: State
    until: float | None
    turns: int
    cost_usd: float
    tickets: int
    created_at: float
    orchestrator: str
    environment: str
    cwd: str
    prompt: str


def read_row(store: Store, folder: SessionFolder) -> SessionRow:
    """Return the row of a session in `ps`.

    Raises:
        StorageError: it is damaged.
    """
    store.catch_up(folder)
    meta = folder.read_meta()
    position = store.index.position(meta.session_id)
    prompt = last_prompt(folder)
    status = read_status(folder, store.index)
    return SessionRow(
        session=meta.session_id,
        state=status.state,
        until=status.until,
        turns=position.turns,
        cost_usd=position.cost_usd,
        tickets=store.index.ticket_count(meta.session_id),
        created_at=meta.created_at,
        orchestrator=meta.orchestrator,
        environment=meta.environment,
        cwd=meta.cwd,
        prompt=redactor_of(folder, meta).text(prompt.text) if prompt else "",
    )


def kept_row(kept: bytes) -> SessionRow | None:
    """Return a row that was kept as JSON; None where it is none, as of another release."""
    try:
        return msgspec.json.decode(kept, type=SessionRow)
    except NOT_JSON:
        return None


def cells(row: SessionRow) -> tuple[object, ...]:
    """Return a row as text."""
    return (
        row.session[:8],
        _state(row.state, row.until),
        row.turns,
        f"${row.cost_usd:.4f}",
        row.tickets,
        age(time.time() - row.created_at),
        row.orchestrator,
        _end(row.cwd, _PLACE),
        shortened(one_line(row.prompt), _PROMPT),
    )


def near_cells(place: str, row: SessionRow) -> tuple[object, ...]:
    """Return a row of this machine as text, beside those of others."""
    session, state, _, cost, tickets, since, _, cwd, prompt = cells(row)
    return (session, place, state, cost, tickets, since, "now", cwd, prompt)


def far_cells(row: SessionElsewhere) -> tuple[object, ...]:
    """Return the session of another machine as text."""
    now = time.time()
    return (
        row.session[:8],
        row.place,
        row.state,
        "" if row.cost_usd is None else f"${row.cost_usd:.4f}",
        len(row.tickets),
        "" if row.created_at is None else age(now - row.created_at),
        f"{age(now - row.seen_at)} ago",
        _end(row.cwd, _PLACE),
        shortened(one_line(row.prompt), _PROMPT),
    )


def far_record(row: SessionElsewhere) -> dict[str, Any]:
    """Return the session of another machine as `ps --json` prints it."""
    fields = msgspec.structs.asdict(row)
    return {**fields, "tickets": len(row.tickets), "questions": len(row.questions)}


def _state(state: State, until: float | None) -> str:
    """Return the state of a session, with the time of its end if known."""
    return f"{state} until {clock(until)}" if state is State.PARKED and until else str(state)


def read_record(store: Store, folder: SessionFolder) -> dict[str, Any]:
    """Return all information about a session, as `show --json` prints it.

    Raises:
        StorageError: it is damaged.
    """
    store.catch_up(folder)
    meta = folder.read_meta()
    status = read_status(folder, store.index)
    position = store.index.position(meta.session_id)
    turns = store.index.turns(meta.session_id)
    redactor = redactor_of(folder, meta)
    fields = msgspec.structs.asdict(meta)
    del fields["secrets"]
    schema = asked_for_value(meta)
    reasons = kept_reasons(folder)
    left = undelivered(folder, store.index)
    return {
        **fields,
        "options": redactor.value(meta.options),
        "place": redactor.value(meta.place),
        "session": meta.session_id,
        "state": status.state,
        "until": status.until,
        "turn_begins": status.begin if _runs(status) else None,
        "folder": str(folder.path),
        "runs_on": folder.read_place(),
        "journal": str(folder.journal),
        "journal_bytes": folder.journal.size(),
        "events": position.events,
        "not_json": position.not_json,
        "unknown": strangers_of(folder.journal) if meta.wire == StreamJson.name else {},
        "cost_usd": position.cost_usd,
        "exit_status": folder.exit_status(),
        "turns": [_turn(turn, recorded_verdict(turn, reasons, schema=schema)) for turn in turns],
        "undelivered": [replace(each, text=redactor.text(each.text)) for each in left],
        "tickets": store.index.tickets(meta.session_id),
        "delegations": store.index.delegations(meta.session_id),
        "stderr": redactor.text(folder.stderr_tail()),
    }


def _runs(status: Status) -> bool:
    return status.begun and status.state in (State.WORKING, State.WAITING)


def _place(place: Mapping[str, str]) -> str:
    """Return the host's statement of where it runs."""
    if not place:
        return "unknown"
    container = place.get("container", "")[:12]
    inside = f" in container {container}" if container else ""
    return f"{place.get('host', '')}{inside} as {place.get('user') or place.get('uid', '')}"


def _turn(turn: TurnRecord, verdict: Verdict) -> dict[str, Any]:
    return {
        **msgspec.structs.asdict(turn),
        "outcome": str(verdict.outcome),
        "reason": verdict.reason,
        "evidence": verdict.evidence,
    }


def print_record(app: App, record: dict[str, Any]) -> None:
    """Print all information about a session, as text."""
    status = record["exit_status"]
    state = _state(record["state"], record["until"])
    _fields(
        ("session", record["session"]),
        ("state", f"ended with status {status}" if status is not None else state),
        ("orchestrator", f"{record['orchestrator']} in {record['environment']}"),
        ("runs on", _place(record["runs_on"])),
        ("works in", record["cwd"] or record["runs_on"].get("cwd", "")),
        ("kept in", record["folder"]),
        ("options", ", ".join(f"{k}={v}" for k, v in record["options"].items() if v) or "none"),
        ("journal", _journal(record)),
        ("claude", _claude(record["starts"])),
        ("cost", f"${record['cost_usd']:.4f} in {len(record['turns'])} turns"),
    )
    starts = [
        (local_time(s.at), s.offset, s.orchestrator, _yes(s.resumed), s.framework_source, _hash(s))
        for s in record["starts"]
    ]
    _section(app, "start", ("at", "byte", "in", "resumed", "framework", "sha256"), starts)
    columns = ("byte", "outcome", "cost", "seconds", "refused", "reason")
    _section(app, "turn", columns, _turns(record))
    left = [(p.name, shortened(one_line(p.text), 2 * _PROMPT)) for p in record["undelivered"]]
    _section(app, "undelivered prompt", ("message", "prompt"), left)
    unknown = [(name, number) for name, number in record["unknown"].items()]
    _section(app, "unknown name", ("name", "times"), unknown)
    tickets = [(t.key, t.state, t.type, t.title, t.agent) for t in record["tickets"]]
    _section(app, "ticket", ("key", "state", "type", "title", "agent"), tickets)
    made = [(d.agent, d.state, d.description) for d in record["delegations"]]
    _section(app, "delegation", ("agent", "state", "task"), made)
    if record["stderr"]:
        echo("\nstandard error, its end", bold=True)
        echo(record["stderr"])


def _claude(starts: Sequence[Any]) -> str:
    """Return which build was started last, with the promises that it does not keep."""
    if not starts or not starts[-1].claude_version:
        return "of an unknown version"
    return starts[-1].claude_limits or f"Claude Code {starts[-1].claude_version}"


def _journal(record: dict[str, Any]) -> str:
    return (
        f"{record['journal_bytes']} bytes, {record['events']} events,"
        f" {record['not_json']} lines that are not JSON"
    )


def _turns(record: dict[str, Any]) -> list[tuple[object, ...]]:
    return [
        (
            t["offset"],
            t["outcome"],
            f"${t['cost_usd']:.4f}",
            f"{t['duration']:.1f}",
            t["denials"] or "",
            "; ".join(filter(None, (t["reason"], *t["notices"]))),
        )
        for t in record["turns"]
    ]


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _hash(start: Any) -> str:
    return str(start.framework_sha256)[:12]


def _fields(*fields: tuple[str, object]) -> None:
    for name, value in fields:
        echo(styled(name.ljust(13), bold=True), f" {one_line(value)}")


def _section(app: App, what: str, columns: Sequence[str], rows: Sequence[Iterable[Any]]) -> None:
    if rows:
        echo(f"\n{len(rows)} {what}{'s' if len(rows) > 1 else ''}", bold=True)
        app.print_table(columns, [tuple(row) for row in rows])


def _end(text: str, size: int) -> str:
    return text if len(text) <= size else "…" + text[1 - size :]
