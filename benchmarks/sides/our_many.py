"""claude-mpm holds many sessions in one process: STATE EMITTER SESSIONS SECONDS LINES_EACH."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from common import tell
from memory import private_memory

from claude_mpm import create_orchestrator

state, emitter, (sessions, wait, lines) = sys.argv[1], sys.argv[2], map(int, sys.argv[3:6])
heard = said = 0


def count(event: object) -> None:
    """The user's function: is given every event."""
    global heard
    heard += 1


def start(_: int) -> Any:
    """Start one session."""
    claude = create_orchestrator("local", state_dir=state, claude_path=emitter, sinks=[count])
    claude.start_or_raise()
    return claude


def drain(claudes: list[Any], over: threading.Event) -> None:
    """The user: takes each session's lines, ten times a second."""
    global said
    while not over.wait(0.1):
        for claude in claudes:
            while claude.get_output(0) is not None:
                said += 1


start(0).stop()  # what is imported and opened but once
before = private_memory()
with ThreadPoolExecutor(8) as pool:
    claudes = list(pool.map(start, range(sessions)))
    time.sleep(1)
each = (private_memory() - before) / sessions
over = threading.Event()
if lines:
    threading.Thread(target=drain, args=(claudes, over), daemon=True).start()
    for claude in claudes:
        claude.send_input("go")
begun, cpu, before_lines = time.perf_counter(), time.process_time(), heard
time.sleep(wait)
took, used, got = time.perf_counter() - begun, time.process_time() - cpu, heard - before_lines
over.set()
tell(memory=each, cpu=used / took, lines=got / took)
sys.stdout.flush()
with ThreadPoolExecutor(8) as pool:
    list(pool.map(lambda claude: claude.stop(), claudes))
