"""Which servers of the page run: one file each, removed at its end."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.folders import check_private, make_private
from claude_mpm.journal.storage import storage_errors
from claude_mpm.validation import NOT_JSON

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MOST = 1 << 16  # bytes of a file


class RunningServer(msgspec.Struct, frozen=True, kw_only=True):
    """One server of the page.

    Args:
        pid: of its process.
        url: where the page is.
        started_at: seconds since the epoch.
    """

    pid: int
    url: str
    started_at: float


@contextmanager
def listed(folder: Path, url: str) -> Iterator[None]:
    """Let `web list` show this server meanwhile.

    Raises:
        StorageError: that could not be kept.
    """
    file = folder / "running" / f"{os.getpid()}.json"
    draft = file.with_suffix(".new")
    server = RunningServer(pid=os.getpid(), url=url, started_at=time.time())
    with storage_errors(file):
        make_private(file.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(draft, flags, 0o600)
    try:
        # Held as long as the process lives: that is how others know that it does. So they see the
        # file only once it is held.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with storage_errors(file):
            os.write(descriptor, msgspec.json.encode(server))
            draft.replace(file)
        yield
    finally:
        for each in (draft, file):
            each.unlink(missing_ok=True)
        os.close(descriptor)


def running_servers(folder: Path) -> list[RunningServer]:
    """Return the servers that run, the oldest first; what one that was killed left is removed.

    Raises:
        StorageError: the folder cannot be read.
    """
    with storage_errors(folder):
        check_private(folder)
        servers = [_server_in(file) for file in (folder / "running").glob("*.json")]
    return sorted(filter(None, servers), key=lambda each: each.started_at)


def _server_in(file: Path) -> RunningServer | None:
    """Return the server whose file this is; None, and no file any more, where it was killed."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as stream:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            try:
                return msgspec.json.decode(stream.read(_MOST), type=RunningServer)
            except NOT_JSON:  # it is damaged
                return None
        file.unlink(missing_ok=True)
    return None
