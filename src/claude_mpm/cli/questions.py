"""`claude-mpm questions`: what Claude waits for an answer to."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click
import msgspec

from claude_mpm.cli.app import App
from claude_mpm.cli.elsewhere import (
    asked_places,
    everywhere_option,
    look_in,
    place_of,
    sessions_of,
    silent_places,
)
from claude_mpm.cli.list_commands import warn
from claude_mpm.cli.options import common_options
from claude_mpm.cli.question_view import arguments_line, proposals
from claude_mpm.cli.session_arg import pick_session, status_now
from claude_mpm.conversation.question import input_of
from claude_mpm.errors import StorageError, UsageError
from claude_mpm.journal.secrets import redactor_of
from claude_mpm.processors.validated_numbers import time_of
from claude_mpm.validation import local_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from claude_mpm.fleet.elsewhere import OpenQuestion, SessionElsewhere
    from claude_mpm.fleet.places import Place
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.redaction import Redactor
    from claude_mpm.sessions.state import Asked
    from claude_mpm.sessions.store import Store

_COLUMNS = ("session", "question", "age", "tool", "input", "Claude proposes")
_LONGEST = 4000  # characters of what a tool gets, in a table


class WaitingQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """One question as `questions --json` prints it."""

    session: str
    question: str
    asked_at: float | None
    tool: str
    input: dict[str, Any]
    description: str
    suggestions: list[Any]


@click.command()
@click.argument("session", required=False, metavar="[ID]")
@click.option("--answered", is_flag=True, help="Those that have their answer, with who gave it.")
@everywhere_option
@common_options
@click.pass_context
def questions(
    context: click.Context, session: str | None, answered: bool, everywhere: bool
) -> None:
    """List what Claude waits for an answer to: in the session ID, or in all that run."""
    app = context.ensure_object(App)
    places = asked_places(app, everywhere=everywhere)
    if places is not None and (session or answered):
        raise UsageError(
            "--on and --everywhere list what waits in all sessions; leave the rest out"
        )
    with closing(app.store()) as store:
        if places is not None:
            _list_everywhere(app, store, places, all_places=everywhere)
            return
        folders = [pick_session(store, session)] if session else list(store.sessions())
        if answered:
            _list_answered(app, folders)
        else:
            _list_waiting(app, store, folders)


def _list_waiting(app: App, store: Store, folders: Sequence[SessionFolder]) -> None:
    waiting = [each for folder in folders for each in _waiting(store, folder)]
    if app.json:
        app.print_json(waiting)
    elif waiting:
        app.print_table(_COLUMNS, map(_cells, waiting))
    else:
        app.note("no question waits")


def _list_everywhere(app: App, store: Store, places: Sequence[Place], *, all_places: bool) -> None:
    """List what waits here in places, and in the sessions of other machines there."""
    rows: list[tuple[str, float, WaitingQuestion]] = []
    for folder in store.sessions():
        waiting = [*_waiting(store, folder)]
        place = place_of(folder.read_meta(), places) if waiting else None
        if place or all_places:
            rows += [(place or "here", time.time(), each) for each in waiting]
    seen = look_in(app, store, places)
    for found in sessions_of(seen):
        rows += [(found.place, found.seen_at, _far_row(found, each)) for each in found.questions]
    if app.json:
        known = [
            {**msgspec.structs.asdict(row), "place": place, "seen_at": at}
            for place, at, row in rows
        ]
        app.print_json([*known, *silent_places(seen)])
    elif rows:
        app.print_table(("place", *_COLUMNS), [(place, *_cells(row)) for place, _, row in rows])
    else:
        app.note("no question waits")


def _far_row(found: SessionElsewhere, asked: OpenQuestion) -> WaitingQuestion:
    return WaitingQuestion(
        session=found.session,
        question=asked.question,
        asked_at=asked.asked_at,
        tool=asked.tool,
        input=asked.input,
        description="",
        suggestions=[],
    )


def _waiting(store: Store, folder: SessionFolder) -> Iterator[WaitingQuestion]:
    """Yield the questions of a session; one that is damaged is named and left out."""
    if not folder.has_host():
        return
    try:
        status = status_now(store, folder)
        redactor = redactor_of(folder, folder.read_meta())
    except StorageError as error:
        warn(folder, error)
        return
    for asked in status.questions:
        yield _row(folder.path.name, asked, redactor)


def _row(session: str, asked: Asked, redactor: Redactor) -> WaitingQuestion:
    proposed = asked.request.get("permission_suggestions")
    return WaitingQuestion(
        session=session,
        question=asked.request_id,
        asked_at=time_of(asked.at),
        tool=str(asked.request.get("tool_name", "")),
        input=redactor.value(input_of(asked.request)),
        description=redactor.text(str(asked.request.get("description") or "")),
        suggestions=redactor.value(proposed) if isinstance(proposed, list) else [],
    )


def _cells(row: WaitingQuestion) -> tuple[object, ...]:
    from claude_mpm.cli.output import age

    return (
        row.session[:8],
        row.question[:8],
        "" if row.asked_at is None else age(time.time() - row.asked_at),
        row.tool,
        _begin(arguments_line(row.input)),
        ", ".join(proposals(row.suggestions)),
    )


def _begin(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]} … of {len(text)} characters; --json has all"


def _list_answered(app: App, folders: Sequence[SessionFolder]) -> None:
    from claude_mpm.journal.answers import read_answers

    waiting = []
    for folder in folders:
        try:
            redactor = redactor_of(folder, folder.read_meta())
            waiting += [(folder.path.name, a, redactor) for a in read_answers(folder).values()]
        except StorageError as error:
            warn(folder, error)
    if app.json:
        app.print_json([r.value({"session": s, **msgspec.to_builtins(a)}) for s, a, r in waiting])
        return
    rows = [(s[:8], a.question[:8], local_time(a.at), a.tool, a.decision, a.by, r.text(a.reason))
            for s, a, r in waiting]  # fmt: skip
    if rows:
        columns = ("session", "question", "at", "tool", "decision", "by", "reason")
        app.print_table(columns, rows)
    else:
        app.note("no question was answered")
