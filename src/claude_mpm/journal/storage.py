"""Files that are ours: written whole, for their owner alone, and removed however deep they lie."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import threading
from typing import TYPE_CHECKING

from claude_mpm.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What is written follows no link that somebody has put in its place.
_DEEPEST = 100  # folders that are open at once while one is removed
_moved = itertools.count()
_HERE = os.O_NOFOLLOW | os.O_CLOEXEC
FOLDER = os.O_RDONLY | os.O_DIRECTORY | _HERE


@contextlib.contextmanager
def storage_errors(path: object) -> Iterator[None]:
    """Turn the operating system's refusals into one clear line."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        where = error.filename or path
        full = error.errno == errno.ENOSPC
        hint = "free some space" if full else "check the folder, or set `state_dir`"
        raise StorageError(f"cannot keep the session in {where}: {reason}; {hint}") from error


def write_whole(file: Path, data: bytes) -> None:
    """Replace `file` by `data` in one step, readable by its owner alone."""
    # Two threads may write the same file, as two processes may.
    draft = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _HERE, 0o600)
    try:
        with open(descriptor, "wb") as stream:
            give_to_owner(descriptor, file.parent)
            stream.write(data)
        draft.replace(file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def give_to_owner(descriptor: int, folder: Path | int) -> None:
    """Let a file belong to whom its folder belongs: a controller as root may serve another user.

    Args:
        descriptor: of the file.
        folder: the folder, or a descriptor of it.
    """
    if os.geteuid() != 0:
        return
    owner = os.fstat(folder) if isinstance(folder, int) else folder.stat()
    if owner.st_uid != 0:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def remove_tree(name: str | Path, *, below: int | None = None) -> None:
    """Remove a folder with all that is in it; no link is followed, and no depth is too much.

    Args:
        name: of the folder.
        below: a descriptor of the folder that it is in; None for the current one.

    Raises:
        OSError: something of it cannot be removed.
    """
    top = os.open(name, FOLDER, dir_fd=below)
    try:
        while _entries(top):
            _empty(top, top, _DEEPEST)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=below)


def _empty(folder: int, top: int, depth: int) -> None:
    """Remove what a folder holds; what lies deeper than `depth` is moved to the top before."""
    for name, is_folder in _entries(folder):
        if not is_folder:
            os.unlink(name, dir_fd=folder)
        elif not depth:
            os.rename(name, f".gone-{next(_moved)}", src_dir_fd=folder, dst_dir_fd=top)
        else:
            inner = os.open(name, FOLDER, dir_fd=folder)
            try:
                os.fchmod(inner, 0o700)
                _empty(inner, top, depth - 1)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=folder)


def _entries(folder: int) -> list[tuple[str, bool]]:
    with os.scandir(folder) as found:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
