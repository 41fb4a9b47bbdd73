"""Our own files: written atomically, for their owner alone, and removed at any depth."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from typing import TYPE_CHECKING

from claude_mpm.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MAX_DEPTH = 100  # folders that are open at once while a tree is removed
_MAX_PASSES = 10_000  # over a tree that somebody else writes into
# A file is never written through a link that someone has put there.
_NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC
FOLDER = os.O_RDONLY | os.O_DIRECTORY | _NO_LINK


@contextlib.contextmanager
def storage_errors(path: object) -> Iterator[None]:
    """Turn errors of the operating system into a StorageError of one line."""
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
    """Replace the content of `file` atomically, readable by its owner alone."""
    # Two threads may write the same file, and so may two processes.
    draft = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _NO_LINK, 0o600)
    try:
        with open(descriptor, "wb") as stream:
            give_to_owner(descriptor, file.parent)
            stream.write(data)
        draft.replace(file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def new_draft(folder: Path, prefix: str) -> tuple[int, str]:
    """Make a file of a new name, readable by its owner alone; return its descriptor and its path.

    Raises:
        OSError: it cannot be made.
    """
    while True:
        path = f"{folder}/{prefix}{os.urandom(6).hex()}"
        with contextlib.suppress(FileExistsError):
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o600), path


def sync_path(path: Path) -> None:
    """Sync a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def give_to_owner(descriptor: int, folder: Path | int) -> None:
    """Give a file the owner of its folder, since a controller as root may serve another user.

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
    """Remove a folder with its content, of any depth, without following links.

    Others may write into it and remove from it meanwhile.

    Args:
        name: of the folder.
        below: a descriptor of its parent; None for the current folder.

    Raises:
        OSError: something in it cannot be removed, or is written again and again.
    """
    top = os.open(name, FOLDER, dir_fd=below)
    try:
        for _ in range(_MAX_PASSES):
            _empty(top, top, _MAX_DEPTH)
            if _remove_folder(name, below):
                return
    finally:
        os.close(top)
    raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(name))


def _empty(folder: int, top: int, depth: int) -> None:
    """Remove a folder's content; folders deeper than `depth` are moved to the top first.

    Where somebody else writes into it, something is left.
    """
    for name, is_folder in _entries(folder):
        # It is gone meanwhile, or has become a folder or a file.
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            if not is_folder:
                os.unlink(name, dir_fd=folder)
            elif not depth:
                os.rename(name, f".gone-{os.urandom(6).hex()}", src_dir_fd=folder, dst_dir_fd=top)
            else:
                inner = os.open(name, FOLDER, dir_fd=folder)
                try:
                    os.fchmod(inner, 0o700)
                    _empty(inner, top, depth - 1)
                finally:
                    os.close(inner)
                _remove_folder(name, folder)


def _remove_folder(name: str | Path, below: int | None) -> bool:
    """Remove a folder; return whether it is gone, which it is not if something is in it."""
    try:
        os.rmdir(name, dir_fd=below)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _entries(folder: int) -> list[tuple[str, bool]]:
    with os.scandir(folder) as entries:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
