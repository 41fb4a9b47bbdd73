"""What the page shows of sessions, read from their folders and the index."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from claude_mpm.conversation.question import CHOICE, input_of
from claude_mpm.conversation.reasons import kept_reasons, recorded_verdict
from claude_mpm.conversation.verdict import Outcome
from claude_mpm.engine.command_line import asked_for_value
from claude_mpm.errors import StorageError
from claude_mpm.journal.prompts import last_prompt, prompts
from claude_mpm.journal.secrets import redactor_of
from claude_mpm.printable import one_line
from claude_mpm.processors.validated_numbers import time_of
from claude_mpm.sessions.status import State, read_status, undelivered
from claude_mpm.web.models import (
    PermissionRequest,
    PromptView,
    SessionDetail,
    SessionRow,
    TurnView,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claude_mpm.conversation.verdict import Verdict
    from claude_mpm.journal.layout import Meta, SessionFolder
    from claude_mpm.records import TurnRecord
    from claude_mpm.sessions.state import Asked
    from claude_mpm.sessions.status import Status
    from claude_mpm.sessions.store import Store

_PROMPT = 200  # characters of a prompt in the list
_LONGEST_PROMPT = 1 << 16  # characters of one in the conversation
_MOST_PROMPTS = 2000
STALLED_AFTER = 600.0  # seconds without a byte, in a turn, after which a person should look
FAILED_FOR = 86400.0  # seconds for which a failure needs a person
_FAILURES = (Outcome.FAILED, Outcome.TIMED_OUT, Outcome.STALLED, Outcome.LOST, Outcome.INCOMPLETE)


def read_row(store: Store, folder: SessionFolder) -> SessionRow:
    """Return what the list shows of a session; a damaged one has its damage in `reason`."""
    try:
        return _read_row(store, folder)
    except StorageError as error:
        changed = _changed_at(folder)
        return SessionRow(
            session=folder.path.name,
            state="damaged",
            needs="failed" if time.time() - changed < FAILED_FOR else "",
            reason=one_line(error),
            created_at=changed,
            changed_at=changed,
        )


def _read_row(store: Store, folder: SessionFolder) -> SessionRow:
    store.catch_up(folder)
    return _row(store, folder, folder.read_meta(), read_status(folder, store.index))


def _row(store: Store, folder: SessionFolder, meta: Meta, status: Status) -> SessionRow:
    session, index = meta.session_id, store.index
    position = index.position(session)
    last = next(index.newest_turns(session), None)
    verdict = _verdict(last, meta, kept_reasons(folder)) if last is not None else None
    prompt = last_prompt(folder)
    redactor = redactor_of(folder, meta)
    changed = _changed_at(folder)
    needs, reason = _needs(status, verdict, last, meta, position.cost_usd, changed)
    return SessionRow(
        session=session,
        state=status.state,
        until=status.until,
        needs=needs,
        reason=one_line(redactor.text(reason)),
        permission_requests=len(status.questions),
        turns=position.turns,
        cost_usd=position.cost_usd,
        cost_today_usd=_cost_since(store, session, _midnight()),
        tickets=len(index.tickets(session, "open")),
        delegations=len(index.delegations(session, "running")),
        created_at=meta.created_at,
        changed_at=changed,
        orchestrator=meta.orchestrator,
        environment=meta.environment,
        cwd=meta.cwd,
        outcome=str(verdict.outcome) if verdict is not None else "",
        prompt=one_line(redactor.text(prompt.text))[:_PROMPT] if prompt else "",
    )


def _verdict(turn: TurnRecord, meta: Meta, reasons: Mapping[str, Mapping[str, Any]]) -> Verdict:
    return recorded_verdict(turn, reasons, schema=asked_for_value(meta))


def _needs(
    status: Status,
    verdict: Verdict | None,
    last: TurnRecord | None,
    meta: Meta,
    cost: float,
    changed: float,
) -> tuple[Any, str]:
    """Return what a session needs a person for, and why; the most urgent alone."""
    now = time.time()
    if status.state is State.WAITING:
        return "permission", _asks(status)
    if status.state is State.PARKED:
        return "limit", "its prompt waits until the rate limit is lifted"
    limit = meta.options.get("session_cost_limit_usd")
    if isinstance(limit, int | float) and cost >= limit:
        return "budget", f"${cost:.2f} of ${limit:.2f} are spent"
    if status.state is State.WORKING:
        silent = now - changed
        is_silent = silent > STALLED_AFTER
        return ("stalled", f"nothing came for {silent / 60:.0f} minutes") if is_silent else ("", "")
    if now - changed > FAILED_FOR:
        return "", ""
    if status.state is State.LOST:
        return "failed", "its host is gone without a word; a new prompt goes on with it"
    if verdict is None or last is None or verdict.outcome not in _FAILURES:
        return "", ""
    is_budget = last.terminal_reason == "budget_exhausted"
    return "budget" if is_budget else "failed", verdict.reason


def _asks(status: Status) -> str:
    if not status.questions:
        return "it waits for a person at its own screen"
    tools = dict.fromkeys(str(each.request.get("tool_name", "")) for each in status.questions)
    return f"asks to use {', '.join(tools)}"


def _cost_since(store: Store, session: str, moment: float) -> float:
    """Return what the turns cost that ended since a moment; the older ones are not read."""
    total = 0.0
    for turn in store.index.newest_turns(session):
        if turn.ended_at is None or turn.ended_at < moment:
            break
        total += turn.cost_usd
    return total


def _midnight() -> float:
    now = datetime.now()
    return now.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def _changed_at(folder: SessionFolder) -> float:
    """Return when a session's journal was written to last, or else its folder."""
    try:
        return folder.journal.changed_at()
    except (OSError, StorageError):  # there is none, or what is there is none
        return folder.path.lstat().st_mtime if folder.path.exists() else 0.0


def read_detail(store: Store, folder: SessionFolder) -> SessionDetail:
    """Return all that is known of a session beside its journal.

    Raises:
        StorageError: it is damaged.
    """
    store.catch_up(folder)
    meta = folder.read_meta()
    index, redactor = store.index, redactor_of(folder, meta)
    status = read_status(folder, index)
    row = _row(store, folder, meta, status)
    runs = status.begun and status.state in (State.WORKING, State.WAITING)
    reasons = kept_reasons(folder)
    left = [redactor.text(prompt.text) for prompt in undelivered(folder, index)]
    return SessionDetail(
        row=row,
        journal_bytes=folder.journal.size(),
        turn_begins=status.begin if runs else None,
        wire=meta.wire,
        claude_session_id=meta.claude_session_id,
        options=redactor.value(meta.options),
        runs_on=dict(folder.read_place()),
        exit_status=folder.exit_status(),
        turns=[
            _turn_view(turn, _verdict(turn, meta, reasons)) for turn in index.turns(meta.session_id)
        ],
        tickets=index.tickets(meta.session_id),
        delegations=index.delegations(meta.session_id),
        permission_requests=[request_view(meta.session_id, each) for each in status.questions],
        undelivered=left,
        stderr=redactor.text(folder.stderr_tail()),
    )


def _turn_view(turn: TurnRecord, verdict: Verdict) -> TurnView:
    return TurnView(
        offset=turn.offset,
        end=turn.end,
        outcome=str(verdict.outcome),
        reason=verdict.reason,
        evidence=verdict.evidence,
        cost_usd=turn.cost_usd,
        tokens=turn.tokens,
        duration=turn.duration,
        ended_at=turn.ended_at,
        origin=turn.origin,
    )


def read_requests(store: Store, folder: SessionFolder) -> list[PermissionRequest]:
    """Return the permission requests that a session waits with.

    Raises:
        StorageError: it is damaged.
    """
    if not folder.has_host():
        return []
    store.catch_up(folder)
    waiting = read_status(folder, store.index).questions
    return [request_view(folder.path.name, each) for each in waiting]


def read_prompts(folder: SessionFolder) -> list[PromptView]:
    """Return the last prompts that a session was given, as they are."""
    return [
        PromptView(uuid=each.uuid, text=each.text[:_LONGEST_PROMPT], command=each.command)
        for each in prompts(folder)[-_MOST_PROMPTS:]
    ]


def request_view(session: str, asked: Asked) -> PermissionRequest:
    """Return a permission request; what the tool gets is not redacted, for it is decided on."""
    given, tool = input_of(asked.request), str(asked.request.get("tool_name", ""))
    choices = given.get("questions") if tool == CHOICE else None
    proposed = asked.request.get("permission_suggestions")
    return PermissionRequest(
        session=session,
        request=asked.request_id,
        asked_at=time_of(asked.at),
        tool=tool,
        input=given,
        choices=[c for c in choices if isinstance(c, dict)] if isinstance(choices, list) else [],
        description=str(asked.request.get("description") or ""),
        suggestions=proposed if isinstance(proposed, list) else [],
    )
