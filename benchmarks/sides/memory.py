"""How much memory this process has to itself."""

from __future__ import annotations

import gc
from pathlib import Path


def private_memory() -> int:
    """Return the bytes that no other process shares, after a collection of garbage."""
    gc.collect()
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("Private_")]
    return sum(kilobytes) * 1024
