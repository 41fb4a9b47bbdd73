"""The command that starts a host."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import claude_mpm.journal

if TYPE_CHECKING:
    from claude_mpm.environments.order import Order

HOST_SCRIPT = os.path.join(os.path.dirname(claude_mpm.journal.__file__), "host.sh")  # noqa: PTH118, PTH120


def host_command(order: Order, script: str = HOST_SCRIPT, folder: str = "") -> list[str]:
    """Return the command that starts the host, which starts Claude.

    Args:
        script: where `host.sh` is, as the place knows it.
        folder: where the session's folder is, as the place knows it; empty where it is here.
    """
    there = folder or str(order.folder.path)
    given = (
        {}
        if not folder
        else {
            str(file): f"{folder}/given/{file.name}"
            for file in (order.folder.framework, order.folder.agents)
        }
    )
    arguments = [given.get(argument, argument) for argument in order.arguments]
    timing = [_seconds(order.linger), _seconds(order.linger_limit)]
    return ["sh", script, there, *timing, order.claude, *arguments]


def _seconds(value: float) -> str:
    """Return a number as every `sleep` reads it: no exponent, no needless fraction."""
    return f"{value:.3f}".rstrip("0").rstrip(".")
