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

_LONGEST = 1 << 22  # bytes of each output; a place that says more is ended
_CHUNK = 1 << 16


def run_short(
    command: Sequence[str], *, data: bytes, timeout: float, environ: Variables = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a command and return how it ended and what it printed, as `subprocess.run` does.

    A command that prints more than 4 MiB is killed: what is at its other end is not trusted.

    Args:
        data: its standard input.
        timeout: seconds that it may take.
        environ: its variables; None for those of this process.

    Raises:
        OSError: it cannot be run.
        subprocess.TimeoutExpired: it took longer.
    """
    deadline = time.monotonic() + timeout
    with _with_pipes(command, environ) as process:
        outputs = [_Output(process, stream) for stream in (process.stdout, process.stderr)]
        writing = threading.Thread(
            target=_write, args=(process.stdin, memoryview(data)), daemon=True
        )
        writing.start()
        try:
            for thread in (writing, *outputs):
                thread.join(max(0.0, deadline - time.monotonic()))
                if thread.is_alive():
                    raise subprocess.TimeoutExpired(command, timeout)
            status = process.wait(max(0.0, deadline - time.monotonic()))
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, status, *(output.data for output in outputs))


def _with_pipes(command: Sequence[str], environ: Variables) -> subprocess.Popen[bytes]:
    # Without buffers, so that closing a pipe waits for no thread that reads it.
    pipe = subprocess.PIPE
    return subprocess.Popen(command, bufsize=0, env=environ, stdin=pipe, stdout=pipe, stderr=pipe)


class _Output(threading.Thread):
    """Reads one output of a process to its end, or to where it is too much."""

    def __init__(self, process: subprocess.Popen[bytes], stream: IO[bytes] | None) -> None:
        super().__init__(name="claude-mpm-output", daemon=True)
        self._process = process
        self._stream = stream
        self.data = b""
        self.start()

    def run(self) -> None:
        """Read; called in the thread."""
        assert self._stream is not None
        kept = bytearray()
        while len(kept) < _LONGEST and (chunk := self._stream.read(_CHUNK)):
            kept += chunk
        self.data = bytes(kept)
        if len(kept) >= _LONGEST:
            self._process.kill()


def _write(stream: IO[bytes] | None, data: bytes | memoryview) -> None:
    assert stream is not None
    with suppress(BrokenPipeError), stream:
        while data:
            data = data[stream.write(data) :]
