"""This machine."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from claude_mpm.environments.base import Environment

if TYPE_CHECKING:
    from collections.abc import Sequence


class Local(Environment):
    """Runs commands on this machine, as this user."""

    name = "local"

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """Return the command as it is."""
        return list(argv)

    def signal(self, pid: int, signum: int) -> None:
        """Send the signal."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)
