"""Many real Claudes at once, by hand or by us: SIDE STATE CLAUDE COUNT."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from common import ByHand, tell

from claude_mpm import create_orchestrator

side, state, claude, count = *sys.argv[1:4], int(sys.argv[4])


def by_hand() -> float:
    """Spawn all, ask all, and wait for the last."""
    begun = time.perf_counter()
    processes = [ByHand(claude) for _ in range(count)]
    with ThreadPoolExecutor(count) as pool:
        last = max(pool.map(ByHand.initialize, processes))
        took = last - begun
        list(pool.map(ByHand.end, processes))
    return took


def by_us() -> float:
    """Start all, each in a thread."""
    many = [create_orchestrator("local", state_dir=state, claude_path=claude) for _ in range(count)]
    begun = time.perf_counter()
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(lambda each: each.start_or_raise(), many))
        took = time.perf_counter() - begun
        list(pool.map(lambda each: each.stop(), many))
    return took


tell(seconds=by_hand() if side == "hand" else by_us())
