"""Take up a session that another process began: STATE SESSION CLAUDE CURSOR.

The session's Claude runs; its journal is long, and the index knows it to its end.
"""

from __future__ import annotations

import sys
import time

from common import tell

from claude_mpm import create_orchestrator
from claude_mpm.sessions.reader import read_events
from claude_mpm.sessions.store import Store

state, session, claude_path, cursor = sys.argv[1:]
store = Store(state)
folder = store.folder(session)
begun = time.perf_counter()
first = next(read_events(folder, store.index, since=int(cursor)))
at_cursor = time.perf_counter() - begun
assert first.offset == int(cursor)
store.close()

begun = time.perf_counter()
claude = create_orchestrator(
    "local", state_dir=state, claude_path=claude_path, session_id=session, resume=True
)
claude.start_or_raise()
at_end = time.perf_counter() - begun
assert claude.attached
claude.detach()
tell(cursor=at_cursor, end=at_end)
