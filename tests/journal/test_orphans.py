"""The processes that a session has left on this machine are ended, whatever they ignore."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

from claude_mpm.journal import orphans

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SECONDS = 60.0


def test_what_ignores_the_end_is_killed_though_this_process_stood_still_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = itertools.count(0, 100)  # seconds that pass between two looks at the clock
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + next(steps))
    monkeypatch.setattr(orphans, "time", clock)
    session = tmp_path / "session"
    words = ["sh", "-c", "trap '' TERM; echo deaf; exec tail -f /dev/null"]
    environ = {**os.environ, "CLAUDE_MPM_FOLDER": str(session)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environ) as deaf:
        assert deaf.stdout is not None
        assert deaf.stdout.readline() == b"deaf\n"
        try:
            assert orphans.end(session) == 1
            assert deaf.wait(SECONDS) == -signal.SIGKILL
        finally:
            deaf.kill()
