"""From the start until `initialize` is answered, by hand and by us: STATE CLAUDE ROUNDS."""

from __future__ import annotations

import os
import sys
import time

from common import ByHand, tell

from claude_mpm import create_orchestrator

state, claude, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])


def by_hand() -> float:
    """Spawn, ask, wait."""
    begun = time.perf_counter()
    process = ByHand(claude)
    took = process.initialize() - begun
    process.end()
    return took


def by_us() -> float:
    """`start()` returns with Claude's answer."""
    orchestrator = create_orchestrator("local", state_dir=state, claude_path=claude)
    begun = time.perf_counter()
    orchestrator.start_or_raise()
    took = time.perf_counter() - begun
    orchestrator.stop()
    return took


os.environ["CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS"] = "1"
by_us(), by_hand()
pairs = [(by_us(), by_hand()) for _ in range(rounds)]
middle = rounds // 2
ours, hand = (sorted(each)[middle] for each in zip(*pairs, strict=True))
each = [a / b for a, b in pairs]
tell(ratio=ours / hand, low=min(each), high=max(each), ours=ours, hand=hand)
