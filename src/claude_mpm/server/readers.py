"""Other machines that read a session: its folder stays until all of them have read it."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from claude_mpm.journal.storage import storage_errors
from claude_mpm.server.message_socket import Refused

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.journal.layout import SessionFolder

_READER = re.compile(r"[0-9]{1,6}")
_MOST = 100  # readers of one session
_SILENT = 86_400.0  # seconds after which a reader that has said nothing does not count
_LEFT = ".left"


def note_reader(folder: SessionFolder, reader: str) -> None:
    """Note that a machine reads the session of another, and when it last did, so that it counts.

    Args:
        reader: how it is known here; empty for the one that started the session.

    Raises:
        Refused: that is no name, or there are too many, or there is no such session.
    """
    if not reader:
        return
    if not _READER.fullmatch(reader):
        raise Refused(f"{reader[:40]!r} is no name of a reader")
    if not folder.meta_file.exists():
        raise Refused("there is no such session here")
    mark = folder.path / f".reader-{reader}"
    if not mark.exists() and len([*folder.path.glob(".reader-*")]) >= _MOST:
        raise Refused("too many machines read this session")
    with storage_errors(mark):
        mark.touch(mode=0o600)


def leave(folder: SessionFolder, reader: str) -> bool:
    """Note that a machine has read a session to its end; return whether all have.

    Args:
        reader: as for `note_reader`.
    """
    if not folder.path.exists():
        return True
    if reader:
        if _READER.fullmatch(reader):
            (folder.path / f".reader-{reader}").unlink(missing_ok=True)
    else:
        with storage_errors(folder.path):
            (folder.path / _LEFT).touch(mode=0o600)
    return (folder.path / _LEFT).exists() and not any(map(_counts, folder.path.glob(".reader-*")))


def _counts(mark: Path) -> bool:
    with suppress(FileNotFoundError):  # it has left meanwhile
        return time.time() - mark.lstat().st_mtime < _SILENT
    return False
