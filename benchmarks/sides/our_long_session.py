"""Make a session with a long journal whose Claude runs on: STATE EMITTER PART SIZE."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from common import tell

from claude_mpm import create_orchestrator

sys.path.append(str(Path(__file__).parents[1]))
import workload

state, emitter, part, size = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
workload.write(part, size)
environ = {**os.environ, "EMIT_FILE": str(part), "EMIT_TIMES": "1"}
claude = create_orchestrator(
    "local", state_dir=state, claude_path=emitter, environ=environ, session_id="long", linger=1e9
)
claude.start_or_raise()
begin = claude.store.folder("long").journal.size()
turn = claude.ask("go")
folder = claude.store.folder("long")
while folder.journal.size() < part.stat().st_size:
    claude.get_output(0.01)
turn.wait()
claude.detach()
middle = part.stat().st_size // 2
with part.open("rb") as file:
    file.seek(middle)
    tell(cursor=begin + middle + len(file.readline()))
