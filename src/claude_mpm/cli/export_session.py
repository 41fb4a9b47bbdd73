"""`claude-mpm export otel`: a session as spans, for an OpenTelemetry collector."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import click

from claude_mpm.cli.app import App
from claude_mpm.cli.options import common_options
from claude_mpm.cli.session_arg import pick_session, status_now
from claude_mpm.cli.turn_view import count

if TYPE_CHECKING:
    from claude_mpm.bridges.spans import Span
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.redaction import Redactor
    from claude_mpm.sessions.store import Store


@click.group("export")
def export() -> None:
    """Give sessions to other tools."""


@export.command()
@click.argument("session", required=False, metavar="[ID]")
@click.option("--content", is_flag=True, help="With what Claude said, and what tools got and gave.")
@common_options
@click.pass_context
def otel(context: click.Context, session: str | None, content: bool) -> None:
    """Send the spans of the session ID, or of the newest one, to an OpenTelemetry collector.

    OTEL_EXPORTER_OTLP_ENDPOINT says where it is. The ids are those of the journal: what was sent
    before, or while Claude worked, is the same span.
    """
    from claude_mpm.bridges.otel import export_spans

    app = context.ensure_object(App)
    with closing(app.store()) as store:
        folder = pick_session(store, session)
        app.know(folder)
        redactor = app.redactor if content else None
        sent = export_spans(spans_of(store, folder, content=redactor))
    app.note(f"{count(sent, 'span')} of session {folder.path.name[:8]} sent")


def spans_of(store: Store, folder: SessionFolder, *, content: Redactor | None = None) -> list[Span]:
    """Return the spans of a session so far; its own one only where it has ended.

    Args:
        content: as for `SpanFold`.
    """
    from claude_mpm.bridges.spans import SpanFold
    from claude_mpm.sessions.reader import read_events

    ended = not status_now(store, folder).state.runs
    fold = SpanFold(folder.path.name, content=content)
    spans = [span for event in read_events(folder, store.index) for span in fold.observe(event)]
    return [*spans, fold.root(folder.read_meta().created_at)] if ended else spans
