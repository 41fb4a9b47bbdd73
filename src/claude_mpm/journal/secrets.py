"""The key with which the secrets of sessions are recognized; it is not in a session's folder."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from claude_mpm.errors import StorageError
from claude_mpm.folders import make_private
from claude_mpm.journal.storage import give_to_owner, new_draft, storage_errors
from claude_mpm.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from claude_mpm.journal.layout import Meta, SessionFolder

_NAME = "redaction.key"
_SIZE = 32  # bytes


def redactor_of(folder: SessionFolder, meta: Meta, also: Iterable[str] = ()) -> Redactor:
    """Return the redactor that removes a session's secrets from text.

    Args:
        also: further secrets.

    Raises:
        StorageError: the key is damaged, or readable by other users.
    """
    return Redactor(meta.secrets, _read(_file(folder)) if meta.secrets else b"", also)


def secrets_key(folder: SessionFolder) -> bytes:
    """Return the key of a session's state folder, which is made if there is none yet.

    Raises:
        StorageError: it cannot be written, is damaged, or readable by other users.
    """
    file = _file(folder)
    return _read(file) or _make(file) or _read(file)


def _file(folder: SessionFolder) -> Path:
    return folder.path.parents[1] / _NAME


def _read(file: Path) -> bytes:
    """Return the key; empty if there is none."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise StorageError(f"{file}: {error.strerror}; remove it, a new one is made") from error
    with open(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
            raise StorageError(f"{file}: it is not readable by its owner alone; chmod 600 {file}")
        key = stream.read(_SIZE + 1)
    if len(key) != _SIZE:
        raise StorageError(f"{file}: it is no key; remove it, a new one is made")
    return key


def _make(file: Path) -> bytes:
    """Make the key and return it; empty if another process was faster."""
    with storage_errors(file):
        make_private(file.parent)
        descriptor, draft = new_draft(file.parent, f".{_NAME}.")
        try:
            with open(descriptor, "wb") as stream:
                give_to_owner(descriptor, file.parent)
                key = os.urandom(_SIZE)
                stream.write(key)
                stream.flush()
                os.fsync(descriptor)
            with contextlib.suppress(FileExistsError):
                os.link(draft, file)
                return key
        finally:
            Path(draft).unlink()
    return b""
