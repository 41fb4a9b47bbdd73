"""Rebuild the index of a state folder: STATE."""

from __future__ import annotations

import sys
import time

from common import tell

from claude_mpm.sessions.store import Store

store = Store(sys.argv[1])
begun = time.perf_counter()
store.rebuild()
took = time.perf_counter() - begun
tell(
    seconds=took,
    size=sum(folder.journal.size() for folder in store.sessions()),
    tickets=len(store.index.tickets()),
)
store.close()
