"""The processes of a session whose host was killed before it could end them."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder

_PROC = Path("/proc")


def end_all(folder: SessionFolder) -> None:
    """Kill every process of this machine that belongs to a session, wherever it went."""
    mark = f"CLAUDE_MPM_FOLDER={folder.path}".encode()  # as the host marks them
    for process in _PROC.glob("[0-9]*/environ"):
        with suppress(OSError):  # it has ended, or is somebody else's
            if mark in process.read_bytes().split(b"\0"):
                os.kill(int(process.parent.name), signal.SIGKILL)
