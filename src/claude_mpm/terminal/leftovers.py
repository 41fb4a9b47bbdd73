"""What Claude's tools left running: wherever it went, its variables name the session."""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from pathlib import Path

_ROUNDS = (signal.SIGTERM, *[None] * 9, signal.SIGKILL, signal.SIGKILL, signal.SIGKILL)
_PAUSE = 0.1  # seconds between them


def sweep(session: str) -> None:
    """End every process of a session, all but this one; without /proc they cannot be found."""
    for signum in _ROUNDS:
        left = _left(f"CLAUDE_MPM_SESSION={session}".encode())
        if not left:
            return
        if signum is not None:
            _end(left, signum)
        select.select([], [], [], _PAUSE)


def _end(processes: list[int], signum: int) -> None:
    for pid in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, signum)


def _left(variable: bytes) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is somebody else's
            if variable in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return [pid for pid in found if pid != os.getpid()]
