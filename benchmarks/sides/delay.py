"""How long a line is on its way, out and in: SIDE STATE EMITTER COUNT.

SIDE is "bare" (a pipe read in a thread) or "ours". The emitter says when it wrote, or read.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from typing import Any

from common import ByHand, tell

from claude_mpm import create_orchestrator

side, state, emitter, count = *sys.argv[1:4], int(sys.argv[4])
PAUSE = {"EMIT_PAUSE": "0.003", "EMIT_TIMES": str(count)}


def percentile(values: list[float], part: float) -> float:
    """Return the value below which `part` of them are."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def bare() -> list[float]:
    """A thread reads the pipe and hands the lines on."""
    process, lines = ByHand(emitter, env=PAUSE), queue.SimpleQueue[Any]()

    def read() -> None:
        while some := process.lines():
            for line in some:
                lines.put(line)

    process.initialize()
    threading.Thread(target=read, daemon=True).start()
    process.prompt("go")
    late = []
    for _ in range(count):
        line = lines.get()
        now = time.monotonic_ns()
        late.append((now - int(json.loads(line)["message"]["content"][0]["text"])) / 1e9)
    process.end()
    return late


def ours() -> list[float]:
    """`get_output` of an orchestrator."""
    claude = create_orchestrator(
        "local", state_dir=state, claude_path=emitter, environ={**os.environ, **PAUSE}
    )
    claude.start_or_raise()
    claude.send_input("go")
    late = []
    for _ in range(count):
        line = claude.get_output(60)
        late.append((time.monotonic_ns() - int(line)) / 1e9)
    claude.stop()
    return late


def inwards() -> list[float]:
    """From `send_input` to the emitter's standard input."""
    claude = create_orchestrator("local", state_dir=state, claude_path=emitter)
    claude.start_or_raise()
    late = []
    for _ in range(min(count, 300)):
        begun = time.monotonic_ns()
        claude.send_input("hi")
        late.append((int(claude.get_output(60)) - begun) / 1e9)
    claude.stop()
    return late


late = bare() if side == "bare" else ours()
into = inwards() if side == "ours" else [0.0]
tell(
    p50=percentile(late, 0.5), p99=percentile(late, 0.99),
    in50=percentile(into, 0.5), in99=percentile(into, 0.99),
)  # fmt: skip
