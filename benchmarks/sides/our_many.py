"""claude-mpm holds many sessions in one process: STATE EMITTER SESSIONS SECONDS."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from common import tell
from memory import private_memory

from claude_mpm import create_orchestrator

state, emitter, (sessions, wait) = sys.argv[1], sys.argv[2], map(int, sys.argv[3:5])
said = 0
came = threading.Event()  # set once the user has taken a line


def start(_: int) -> Any:
    """Start one session."""
    claude = create_orchestrator("local", state_dir=state, claude_path=emitter)
    claude.start_or_raise()
    return claude


def drain(claudes: list[Any], over: threading.Event) -> None:
    """The user: takes each session's lines, ten times a second."""
    global said
    while not over.wait(0.1):
        for claude in claudes:
            while claude.get_output(0) is not None:
                said += 1
                came.set()


def used(seconds: int) -> tuple[float, float]:
    """Return the processor time and the lines of a second, over some seconds."""
    begun, cpu, lines = time.perf_counter(), time.process_time(), said
    time.sleep(seconds)
    took = time.perf_counter() - begun
    return (time.process_time() - cpu) / took, (said - lines) / took


start(0).stop()  # what is imported and opened but once
before = private_memory()
with ThreadPoolExecutor(8) as pool:
    claudes = list(pool.map(start, range(sessions)))
    time.sleep(1)
each = (private_memory() - before) / sessions
idle, _ = used(wait)
over = threading.Event()
threading.Thread(target=drain, args=(claudes, over), daemon=True).start()
for claude in claudes:
    claude.send_input("go")
came.wait()  # on a busy machine, nothing may come in the first second
busy, got = used(wait)
over.set()
tell(memory=each, idle=idle, busy=busy, lines=got)
sys.stdout.flush()
for claude in claudes:  # they do not read their input while they write
    os.kill(claude.store.folder(claude.session_id).pids()[1], signal.SIGTERM)
with ThreadPoolExecutor(16) as pool:
    list(pool.map(lambda claude: claude.stop(), claudes))
