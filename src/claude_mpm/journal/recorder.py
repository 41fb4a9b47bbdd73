"""Keeping the journal of a process that writes to pipes, in the host's place."""

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
    """Copies a process's standard output and error into a session folder, until both are over.

    The pipes are always read, so the process never stands still because nobody reads; its
    journal does not survive the death of this process, as that of a host does.

    Args:
        process: what `subprocess.Popen` returns, or something like it.
        folder: where the journal, the errors and at the end the exit status are kept.
    """

    def __init__(self, process: Any, folder: SessionFolder) -> None:
        self._process = process
        self._folder = folder
        self._output = process.stdout
        self._errors = process.stderr
        self._thread = threading.Thread(target=self._run, name="claude-mpm-record", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def join(self, timeout: float) -> None:
        """Wait until the pipes are over, for `timeout` seconds at most."""
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
    """Yield what comes through a pipe, or through whatever has a `readline`."""
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
