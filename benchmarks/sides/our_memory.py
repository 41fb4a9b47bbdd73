"""Memory over a long session: STATE EMITTER FILE LINES TIMES."""

from __future__ import annotations

import os
import sys

from common import tell
from memory import private_memory

from claude_mpm import create_orchestrator

state, emitter, file, lines, times = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
seen = 0


def count(event: object) -> None:
    """The user's function: is given every event."""
    global seen
    seen += 1


environ = {**os.environ, "EMIT_FILE": file, "EMIT_TIMES": str(times)}
claude = create_orchestrator(
    "local", state_dir=state, claude_path=emitter, environ=environ, sinks=[count]
)
claude.start_or_raise()
claude.send_input("go")
early = 0
while seen < lines * times:
    claude.get_output(0.05)
    if not early and seen > lines * times / 10:
        early = private_memory()
late = private_memory()
claude.stop()
tell(grown=late - early, events=seen, early=early)
