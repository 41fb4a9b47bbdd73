"""What a place writes: the files of a session's exchange folder, of which every byte is hostile.

A program in the place may put anything under any name there: other words, a link to a file of this
machine, a FIFO, a folder, a gigabyte. So nothing else opens what is in it. A file is opened below a
descriptor of its folder, without following a link at any level and without waiting; then it is
looked at whether it is what it must be, and whose. What is read of a note is bounded.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING

from claude_mpm.errors import StorageError
from claude_mpm.journal.storage import FOLDER, give_to_owner, remove_tree, storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

NOTE = 1 << 16  # bytes that are read of a file that must be short
_CHUNK = 1 << 20
_MANY = 10_000  # names that are read of a folder
_SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_TIME = getattr(os, "O_NOATIME", 0)  # only Linux has it
# How the system refuses what is under a name and is no file of that kind.
_NOT_THAT = {
    errno.ELOOP: "a link", errno.EISDIR: "a folder", errno.ENOTDIR: "no folder",
    errno.ENXIO: "no file",
}  # fmt: skip
_KINDS = {
    stat.S_IFREG: "a file", stat.S_IFIFO: "a FIFO", stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link", stat.S_IFSOCK: "a socket",
}  # fmt: skip


class ExchangeFile:
    """One file or FIFO of an exchange folder; it is no path, so that nobody opens it as one.

    Args:
        folder: the exchange folder.
        name: of the file, below it.
    """

    __slots__ = ("folder", "name")

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name

    def __str__(self) -> str:
        """Return its path, for messages."""
        return f"{self.folder}/{self.name}"

    @property
    def path(self) -> Path:
        """Its path: for messages and for who starts a place, and never to be opened."""
        return self.folder / self.name

    # --- what there is ----------------------------------------------------------------------

    def exists(self) -> bool:
        """Return whether there is anything under the name."""
        return os.path.lexists(self.path)

    def is_fifo(self) -> bool:
        """Return whether there is a FIFO under the name."""
        return self._kind() == stat.S_IFIFO

    def wrong(self, *, fifo: bool = False) -> str | None:
        """Say what is there in place of a file, or a FIFO; None where all is well, or nothing."""
        found = self._kind()
        if found in (None, stat.S_IFIFO if fifo else stat.S_IFREG):
            return None
        return str(self._damaged(_KINDS.get(found or 0)))

    def size(self) -> int:
        """Return how long the file is, in bytes.

        Raises:
            FileNotFoundError: there is none.
            StorageError: it is no file.
        """
        return self._stat().st_size

    def changed_at(self) -> float:
        """Return when the file was written to last, in seconds since the epoch.

        Raises:
            FileNotFoundError: there is none.
            StorageError: it is no file.
        """
        return self._stat().st_mtime

    # --- opening ----------------------------------------------------------------------------

    def open(self, flags: int = os.O_RDONLY) -> int:
        """Open the file and return its descriptor.

        Raises:
            FileNotFoundError: there is none.
            StorageError: it is no file, or another user's.
        """
        if flags == os.O_RDONLY:  # so that nobody keeps note of each reading, where that can be
            with suppress(PermissionError):
                return self._open(flags | _NO_TIME, stat.S_IFREG)
        with _refusals(self):
            return self._open(flags, stat.S_IFREG)

    def open_to_append(self) -> int:
        """Open the file for more at its end, and make it where there is none."""
        return self.open(os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def open_fifo(self, flags: int, *, waits: bool = False) -> int:
        """Open the FIFO and return its descriptor.

        Args:
            waits: whether to wait for somebody at its other end; only where no place can write.

        Raises:
            FileNotFoundError: there is none.
            BrokenPipeError: it is opened for writing alone, and nobody reads it.
            StorageError: it is no FIFO, or another user's.
        """
        with _refusals(self):
            return self._open(flags, stat.S_IFIFO, waits=waits)

    # --- reading ----------------------------------------------------------------------------

    def read(self, most: int = NOTE, offset: int = 0) -> bytes:
        """Return bytes of the file from `offset` on, `most` of them; none behind its end.

        Raises:
            FileNotFoundError: there is none.
            StorageError: it is no file.
        """
        file = self.open()
        try:
            return os.pread(file, most, offset) if offset < os.fstat(file).st_size else b""
        finally:
            os.close(file)

    def tail(self, most: int) -> bytes:
        """Return the last bytes of the file, `most` of them.

        Raises:
            FileNotFoundError: there is none.
            StorageError: it is no file.
        """
        return self.read(most, max(0, self.size() - most))

    def chunks(self) -> Iterator[bytes]:
        """Yield all that the file holds, piece by piece.

        Raises:
            FileNotFoundError: there is none.
            StorageError: it is no file.
        """
        with open(self.open(), "rb", buffering=0) as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk

    def names(self) -> list[str]:
        """Return the names in a folder, some thousands at most.

        Raises:
            FileNotFoundError: there is none.
            StorageError: it is no folder.
        """
        with self._folder(self.name.split("/")) as folder, os.scandir(folder) as entries:
            return [entry.name for entry in islice(entries, _MANY)]

    # --- writing ----------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Replace the file by `data` in one step; what is in its place goes, whatever it is.

        Raises:
            StorageError: the disk did not take it.
        """
        draft = f".{self.name}.{os.urandom(4).hex()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE
        with storage_errors(self), self._folder() as folder:
            file = os.open(draft, flags, 0o600, dir_fd=folder)
            try:
                with open(file, "wb") as stream:
                    give_to_owner(file, folder)
                    stream.write(data)
                if self._kind() == stat.S_IFDIR:
                    remove_tree(self.name, below=folder)
                os.replace(draft, self.name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                os.unlink(draft, dir_fd=folder)
                raise

    def append(self, data: bytes) -> None:
        """Add bytes to the file, which is made where there is none.

        Raises:
            StorageError: the disk did not take it, or there is something else in its place.
        """
        with storage_errors(self), open(self.open_to_append(), "wb") as stream:
            stream.write(data)

    def make_fifo(self) -> None:
        """Make a FIFO, whose owner is the folder's.

        Raises:
            StorageError: the disk did not take it, or there is something in its place.
        """
        with storage_errors(self), self._folder() as folder:
            os.mkfifo(self.name, 0o600, dir_fd=folder)
            if os.geteuid() == 0 != (owner := os.fstat(folder)).st_uid:
                ids = (owner.st_uid, owner.st_gid)
                os.chown(self.name, *ids, dir_fd=folder, follow_symlinks=False)

    def remove(self) -> None:
        """Remove what is under the name, whatever it is; nothing is fine.

        Raises:
            StorageError: it cannot be removed.
        """
        with storage_errors(self), suppress(FileNotFoundError), self._folder() as folder:
            if self._kind() == stat.S_IFDIR:
                remove_tree(self.name, below=folder)
            else:
                os.unlink(self.name, dir_fd=folder)

    # --- beneath ----------------------------------------------------------------------------

    def _kind(self) -> int | None:
        try:
            return stat.S_IFMT(os.lstat(self.path).st_mode)
        except OSError:
            return None

    def _stat(self) -> os.stat_result:
        with _refusals(self):
            found = os.lstat(self.path)
        if not stat.S_ISREG(found.st_mode):
            raise self._damaged(_KINDS.get(stat.S_IFMT(found.st_mode)))
        return found

    def _open(self, flags: int, kind: int, *, waits: bool = False) -> int:
        flags |= _SAFE & ~os.O_NONBLOCK if waits else _SAFE
        *folders, name = self.name.split("/")
        with self._folder(folders) as folder:
            owner = os.fstat(folder).st_uid
            try:
                file = os.open(name, flags, 0o600, dir_fd=folder)
            except OSError as error:
                if error.errno == errno.ENXIO and kind == stat.S_IFIFO and self.is_fifo():
                    raise BrokenPipeError(errno.EPIPE, f"nobody reads {self}") from error
                if error.errno in _NOT_THAT:
                    raise self._damaged(_NOT_THAT[error.errno]) from error
                raise
        found = os.fstat(file)
        if stat.S_IFMT(found.st_mode) == kind and found.st_uid in (owner, os.geteuid(), 0):
            return file
        os.close(file)
        is_kind = stat.S_IFMT(found.st_mode) == kind
        raise self._damaged("another user's" if is_kind else _KINDS.get(stat.S_IFMT(found.st_mode)))

    @contextmanager
    def _folder(self, below: Sequence[str] = ()) -> Iterator[int]:
        """Open the folder, or one below it; no link on the way is followed."""
        descriptor = -1
        try:
            for name in (str(self.folder), *below):
                above = descriptor
                try:
                    descriptor = os.open(name, FOLDER, dir_fd=None if above < 0 else above)
                except OSError as error:
                    if error.errno in _NOT_THAT:
                        raise self._damaged("below a link, or what is no folder") from error
                    raise
                finally:
                    if above >= 0 and above != descriptor:
                        os.close(above)
            yield descriptor
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _damaged(self, what: str | None) -> StorageError:
        return StorageError(
            f"{self} is {what or 'something else'}, and not what it was made as:"
            " what runs in the session's place has replaced it"
        )


@contextmanager
def _refusals(file: ExchangeFile) -> Iterator[None]:
    """Turn the system's refusals into one clear line, but for what a caller asks for."""
    try:
        yield
    except (FileNotFoundError, BrokenPipeError):
        raise
    except OSError as error:
        with storage_errors(file):
            raise error
