"""The setting `otel`: a session is traced while it runs."""

from __future__ import annotations

import atexit
import os
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from claude_mpm.bridges.otel import LiveExport
from claude_mpm.bridges.spans import traceparent
from claude_mpm.cli.output import echo
from claude_mpm.errors import MPMError
from claude_mpm.printable import one_line
from claude_mpm.sessions.store import Store

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder


def trace(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with which a session is traced.

    Claude's own spans hang below those of the session: this process's TRACEPARENT says where, and
    goes along to any place.

    Args:
        options: those that the orchestrator gets anyway. Of a session that is taken up, somebody
            else may send the spans; `export otel` does it afterwards.
    """
    session = options.get("session_id") or str(uuid4())
    os.environ["TRACEPARENT"] = traceparent(session)
    if options.get("resume"):
        return options
    exporter = LiveExport(session)
    atexit.register(_close, exporter, Store(options.get("state_dir")).folder(session))
    sinks = [*options.get("sinks", ()), exporter.observe]
    return {**options, "session_id": session, "sinks": sinks}


def _close(exporter: LiveExport, folder: SessionFolder) -> None:
    """Send what is left, and the session's own span if it has ended; nothing in it raises."""
    name, created_at = folder.path.name, None
    try:
        if folder.meta_file.exists() and folder.has_ended():
            created_at = folder.read_meta().created_at
    except MPMError as error:
        echo(f"claude-mpm: the span of session {name} is not sent: {one_line(error)}", err=True)
    try:
        exporter.close(created_at)
    except KeyboardInterrupt:
        echo(
            f"\nclaude-mpm: interrupted before all spans were sent; claude-mpm export otel {name}"
            " sends them",
            err=True,
        )
