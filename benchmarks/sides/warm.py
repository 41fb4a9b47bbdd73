"""A warm turn, by hand and through `ask`: STATE CLAUDE ROUNDS."""

from __future__ import annotations

import sys
import time

from common import ByHand, tell_pairs

from claude_mpm import create_orchestrator

state, claude, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
process = ByHand(claude)
process.initialize()
orchestrator = create_orchestrator(
    "local", state_dir=state, claude_path=claude, use_framework=False
)
orchestrator.start_or_raise()


def by_hand() -> float:
    """Write the prompt, read until Claude says that it is idle."""
    begun = time.perf_counter()
    process.prompt("hi")
    return process.wait_for(b'"session_state_changed"', b'"idle"') - begun


def by_us() -> float:
    """The same turn; it is over at the same event."""
    begun = time.perf_counter()
    text = orchestrator.ask("hi").text
    took = time.perf_counter() - begun
    assert "heard: hi" in text
    return took


for _ in range(3):
    by_hand(), by_us()
pairs = [(by_us(), by_hand()) for _ in range(rounds)]
orchestrator.stop()
process.end()
tell_pairs(ours=[ours for ours, _ in pairs], hand=[hand for _, hand in pairs])
