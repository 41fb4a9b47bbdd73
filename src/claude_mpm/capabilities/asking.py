"""Asking a binary for its version: a process that is ended where it does not answer in time."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# The variables of a start that is only a question.
QUIET = {"DISABLE_AUTOUPDATER": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}
_LONGEST = 4096  # bytes of an answer
_READ = os.O_RDONLY
_WRITE = os.O_WRONLY


def ask_version(claude: Path, environ: Mapping[str, str], timeout: float) -> tuple[int | None, str]:
    """Run a binary with `--version`; return its exit status and the beginning of what it printed.

    `subprocess` is left alone: whoever tests with a `Popen` of his own gets the session's process
    by it, and no other.

    Args:
        environ: its variables.
        timeout: seconds after which it is killed; the status is None then.

    Raises:
        OSError: it cannot be run.
    """
    ours, theirs = os.pipe()
    try:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, _READ, 0),
            (os.POSIX_SPAWN_DUP2, theirs, 1),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, _WRITE, 0),
        ]
        words = [str(claude), "--version"]
        pid = os.posix_spawn(claude, words, dict(environ), file_actions=actions, setpgroup=0)
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    # A thread of its own ends it, since to wait for a process has no time limit of its own.
    late = threading.Timer(timeout, _kill, [pid])
    late.daemon = True
    late.start()
    try:
        said = _read(ours, time.monotonic() + timeout)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        late.cancel()
        os.close(ours)
    return (status if status >= 0 else None), said.decode("utf-8", "replace")


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):  # it has ended
        os.killpg(group, signal.SIGKILL)


def _read(pipe: int, deadline: float) -> bytes:
    """Return what comes through a pipe until its end, or a moment, or until it is too much."""
    said = b""
    while len(said) < _LONGEST:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            break
        piece = os.read(pipe, _LONGEST)
        if not piece:
            break
        said += piece
    return said
