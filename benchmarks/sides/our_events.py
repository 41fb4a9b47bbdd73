"""claude-mpm reads stream-json through everything: STATE EMITTER FILE LINES."""

from __future__ import annotations

import os
import sys
import time

from common import tell

from claude_mpm import create_orchestrator

state, emitter, file, lines = sys.argv[1:]
wanted = int(lines)
seen = 0


def count(event: object) -> None:
    """The user's function: is given every event."""
    global seen
    seen += 1


claude = create_orchestrator(
    "local", state_dir=state, claude_path=emitter, environ={**os.environ, "EMIT_FILE": file},
    sinks=[count],
)  # fmt: skip
claude.start_or_raise()
before, said = seen, 0
begun = time.perf_counter()
claude.send_input("go")
while seen - before < wanted:
    said += claude.get_output(0.05) is not None
took = time.perf_counter() - begun
while claude.get_output(0.05) is not None:
    said += 1
claude.stop()
tickets = len(claude.store.index.tickets())
claude.store.close()
assert tickets and said, "nothing was found, so less was done than is claimed"
tell(seconds=took, events=wanted, said=said)
