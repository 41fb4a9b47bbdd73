"""Faults on purpose, by a seed: what is claimed to survive them is shown to do so.

`python -m claude_mpm.testing.chaos` runs the scenarios and writes a report; the faults serve the
tests of other programs as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claude_mpm.testing.chaos.faults import (
        Dice,
        Killer,
        clock_jump,
        cuts,
        full_disk,
        kill,
        slow_reader,
        stall,
        tear,
    )

__all__ = [
    "Dice",
    "Killer",
    "clock_jump",
    "cuts",
    "full_disk",
    "kill",
    "slow_reader",
    "stall",
    "tear",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'claude_mpm.testing.chaos' has no attribute {name!r}")
    from claude_mpm.testing.chaos import faults

    return getattr(faults, name)
