"""Kills, stops and races on purpose, by a seed: `make chaos` runs the scenarios and reports.

The faults themselves are in `claude_mpm.testing.faults`; they serve other programs' tests, too.
"""

from __future__ import annotations

import os
from pathlib import Path

from claude_mpm.own_python import own_environ, own_python

_CHECKOUT = Path(__file__).parents[1]


def command(module: str) -> list[str]:
    """Return the command that runs a module of this package in a process of its own."""
    return own_python("-m", f"{__name__}.{module}")


def environ() -> dict[str, str]:
    """Return the environment of such a process, in which this package is found."""
    inherited = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join(filter(None, (str(_CHECKOUT), inherited)))
    return own_environ({**os.environ, "PYTHONPATH": path})
