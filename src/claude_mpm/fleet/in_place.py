"""Commands that are run in a task's place and folder, for as long as they may take."""

from __future__ import annotations

import math
import os
import select
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.errors import MPMError
from claude_mpm.link.answer import MarkedOutput
from claude_mpm.validation import error_line

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence

_KEPT = 1 << 16  # bytes of the end of what a command prints
# Of the command of this machine: it reads nothing, says all in one stream, and is its own group.
_ALONE: dict[str, Any] = {
    "stdin": subprocess.DEVNULL,
    "stdout": subprocess.PIPE,
    "stderr": subprocess.STDOUT,
    "start_new_session": True,
}
_LOOK = 0.5  # seconds between two looks whether anybody still waits
_GRACE = 10.0  # seconds that a place has to end a command by itself
# For POSIX sh: goes to the folder and runs the command there, and ends it with all that it has
# started where it takes too long; `timeout` does so in the place itself, wherever there is one.
_RUN = """
cd -- "$0" || exit 125
limit=$1
shift
exec </dev/null 2>&1
command -v timeout >/dev/null && exec timeout -k 2 "$limit" "$@"
exec "$@"
"""


class Abandoned(MPMError):
    """A command was ended because nobody waits for it any more."""


class Done(msgspec.Struct, frozen=True):
    """How a command ended.

    Args:
        status: its exit status; None where it did not end in its time, or was never run.
        output: the last of what it printed.
        hung: whether its time was up.
    """

    status: int | None
    output: bytes = b""
    hung: bool = False

    @property
    def said(self) -> str:
        """What it said last, in one line."""
        return error_line(self.output.decode("utf-8", "replace"))


def run_in_place(
    wrap: Callable[[Sequence[str]], list[str]],
    argv: Sequence[str],
    *,
    folder: str = "",
    timeout: float,
    environ: Mapping[str, str] | None = None,
    marks: Mapping[str, str] | None = None,
    over: threading.Event | None = None,
) -> Done:
    """Run a command in a place, and end what is left of it.

    Args:
        wrap: returns the command of this machine that runs one in the place.
        argv: the command.
        folder: where it is run, as the place knows it; empty for the place's own choice.
        timeout: seconds that it may take.
        environ: of the command of this machine; None for this process's.
        marks: variables that the command has in the place.
        over: is set when nobody waits for the command any more.

    Raises:
        Abandoned: that was so.
        LaunchError: the place runs no commands.
        OSError: the command of this machine cannot be run.
    """
    answer, begin = MarkedOutput(), time.monotonic()
    command = wrap(answer.command(_inner(argv, folder, timeout, marks or {})))
    with subprocess.Popen(
        command,
        env=environ,
        **_ALONE,
    ) as process:
        try:
            output = _read(process, answer, begin + timeout + _GRACE, over)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    hung = time.monotonic() - begin >= timeout and answer.status in (None, 124, 137)
    return Done(None if hung else answer.status, output or answer.before, hung)


def _inner(argv: Sequence[str], folder: str, timeout: float, marks: Mapping[str, str]) -> list[str]:
    """Return what is run in the place."""
    limit = str(math.ceil(timeout))  # not every `timeout` takes a fraction
    marked = ["env", *(f"{name}={value}" for name, value in marks.items())] if marks else []
    return ["sh", "-c", _RUN, folder or ".", limit, *marked, *argv]


def _read(
    process: subprocess.Popen[bytes],
    answer: MarkedOutput,
    deadline: float,
    over: threading.Event | None,
) -> bytes:
    """Return the last of what was printed until the answer's end, or the deadline.

    Raises:
        Abandoned: nobody waits for it any more.
    """
    assert process.stdout is not None
    descriptor, output = process.stdout.fileno(), b""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while answer.status is None and (left := deadline - time.monotonic()) > 0:
        if over is not None and over.is_set():
            raise Abandoned("the command was ended before its end")
        if not poll.poll(min(left, _LOOK) * 1000):
            continue
        chunk = os.read(descriptor, _KEPT)
        if not chunk:
            break
        output = (output + answer.feed(chunk))[-_KEPT:]
    return output
