"""Writes the journal of a process with pipes, which has no host."""

from __future__ import annotations

import os
import threading
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claude_mpm.journal.exchange import ExchangeFile
    from claude_mpm.journal.layout import SessionFolder

_CHUNK = 1 << 16


class Recorder:
    """Copies a process's standard output and error into a session folder, until both end.

    The pipes are always read, so the process never blocks on a full one. Unlike with a host,
    nothing is recorded any more once this process has died.

    Args:
        process: what `subprocess.Popen` returns, or an object with the same interface.
        folder: where the journal, the errors and at the end the exit status are written.
    """

    def __init__(self, process: Any, folder: SessionFolder) -> None:
        self._process = process
        self._folder = folder
        self._output = process.stdout
        self._errors = process.stderr
        self._thread = threading.Thread(target=self._run, name="claude-mpm-record", daemon=True)

    def start(self) -> None:
        """Start to read, in threads."""
        self._thread.start()

    def join(self, timeout: float) -> None:
        """Wait until the pipes have ended, for `timeout` seconds at most."""
        self._thread.join(timeout)

    def _run(self) -> None:
        drain = threading.Thread(
            target=_copy, args=(self._errors, self._folder.errors), daemon=True
        )
        drain.start()
        _copy(self._output, self._folder.journal)
        drain.join()
        status = self._process.wait()
        number = status if isinstance(status, int) else 0
        self._folder.exit_file.write(f"{number}\n".encode())


def _copy(stream: IO[Any] | None, file: ExchangeFile) -> None:
    if stream is None:
        return
    with open(file.open_to_append(), "ab", buffering=0) as copy:
        for chunk in _chunks(stream):
            copy.write(chunk)
    stream.close()


def _chunks(stream: IO[Any]) -> Iterator[bytes]:
    """Yield the data of a pipe, or of any object with a `readline`."""
    descriptor = _descriptor(stream)
    while True:
        data = stream.readline() if descriptor is None else os.read(descriptor, _CHUNK)
        if isinstance(data, str):
            data = data.encode()
        if not isinstance(data, bytes) or not data:
            return
        yield data


def _descriptor(stream: IO[Any]) -> int | None:
    try:
        descriptor = stream.fileno()
    except (AttributeError, OSError):
        return None
    return descriptor if isinstance(descriptor, int) else None
