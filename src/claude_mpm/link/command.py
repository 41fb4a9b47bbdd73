"""Short commands of a place, of whose output no more is kept than an answer can have."""

from __future__ import annotations

import subprocess
import threading
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Variables = Mapping[str, str] | None

    from claude_mpm.link.answer import MarkedOutput

_LONGEST = 1 << 22  # bytes of each output; a place that says more is ended
_CHUNK = 1 << 16
_TO_END = 1.0  # seconds for a command whose answer is whole; some never end


def run_short(
    command: Sequence[str],
    answer: MarkedOutput | None = None,
    *,
    data: bytes,
    timeout: float,
    environ: Variables = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command until its answer is whole, and return how it ended and what it printed.

    Whether the answer is whole, the answer itself says: a stream can end early, with whatever exit
    status, and it can go on though its command has ended. A command that prints more than 4 MiB
    is killed: what is at its other end is not trusted.

    Args:
        answer: takes the standard output; what is returned of that is the answer alone. Without it,
            the command is run to its end.
        data: its standard input.
        timeout: seconds that it may take.
        environ: its variables; None for those of this process.

    Raises:
        OSError: it cannot be run.
        subprocess.TimeoutExpired: it took longer.
    """
    process = _with_pipes(command, environ)
    output = _Output(process, process.stdout, answer)
    errors = _Output(process, process.stderr)
    writing = threading.Thread(target=_write, args=(process.stdin, memoryview(data)), daemon=True)
    writing.start()
    try:
        status = _await(process, output, errors, timeout)
        writing.join(_TO_END)  # nobody reads any more, unless a child of its has the pipe
    except BaseException:
        process.kill()
        process.wait()
        raise
    return subprocess.CompletedProcess(command, status, bytes(output.data), bytes(errors.data))


def _await(
    process: subprocess.Popen[bytes], output: _Output, errors: _Output, timeout: float
) -> int:
    """Return how a command ended, once its output is complete or it has ended.

    Raises:
        subprocess.TimeoutExpired: neither happened within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    output.known.wait(max(0.0, deadline - time.monotonic()))
    if output.is_whole or output.is_too_long:
        deadline = time.monotonic() + _TO_END
    for thread in (output, errors):
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive() and not (output.is_whole or output.is_too_long):
            raise subprocess.TimeoutExpired(process.args, timeout)
    return _end(process, deadline)


def _end(process: subprocess.Popen[bytes], deadline: float) -> int:
    """Return how a command ended; one that does not is killed."""
    try:
        return process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _with_pipes(command: Sequence[str], environ: Variables) -> subprocess.Popen[bytes]:
    # Each pipe is closed by the thread that uses it, which may be at it still when the answer is
    # whole: its descriptor would be another file's by then. Without buffers, since it waits.
    pipe = subprocess.PIPE
    return subprocess.Popen(command, bufsize=0, env=environ, stdin=pipe, stdout=pipe, stderr=pipe)


class _Output(threading.Thread):
    """Reads one output of a process to its end, or to where it is too much.

    Attributes:
        is_too_long: whether more came than any answer has; the process is killed, but a child of
            it may hold the other output open.
        known: is set once the answer is whole, or nothing more will come.
        data: what was read; it is complete when `known` is set and there is an answer, or else when
            this thread has ended.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        stream: IO[bytes] | None,
        answer: MarkedOutput | None = None,
    ) -> None:
        super().__init__(name="claude-mpm-output", daemon=True)
        self._process = process
        self._stream = stream
        self._answer = answer
        self.is_too_long = False
        self.known = threading.Event()
        self.data = bytearray()
        self.start()

    @property
    def is_whole(self) -> bool:
        """Whether there is an answer, and all of it has come."""
        return self._answer is not None and self._answer.status is not None

    def run(self) -> None:
        """Read; called in the thread."""
        assert self._stream is not None
        read = 0
        with self._stream:
            while read < _LONGEST and (chunk := self._stream.read(_CHUNK)):
                read += len(chunk)
                self.data += chunk if self._answer is None else self._answer.feed(chunk)
                if self.is_whole:
                    self.known.set()
            self.is_too_long = read >= _LONGEST
            self.known.set()
            if self.is_too_long:
                self._process.kill()


def _write(stream: IO[bytes] | None, data: bytes | memoryview) -> None:
    assert stream is not None
    # The command has ended, or its answer was whole, before all was read.
    with suppress(BrokenPipeError, ValueError), stream:
        while data:
            data = data[stream.write(data) :]
