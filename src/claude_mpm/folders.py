"""Folders that are this user's alone: made so under any umask, and checked before they are used."""

from __future__ import annotations

import fcntl
import functools
import logging
import os
import stat
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from claude_mpm.errors import LaunchError, SettingsError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_logger = logging.getLogger("claude_mpm.folders")

_OURS = "claude-mpm"
PURPOSES = ("probe", "demo", "check", "image")  # of temporary folders
_FRESH = 60.0  # seconds in which a temporary folder may not have its owner's lock yet
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# As the XDG Base Directory Specification names them: the variable, and what counts without it.
_FOLDERS = {
    "config": ("XDG_CONFIG_HOME", ".config"),
    "state": ("XDG_STATE_HOME", ".local/state"),
}
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
# The longest path of a socket in bytes: macOS and BSD have 104 with the NUL, Linux 108 (unix(7)).
_LONGEST_PATH = 103
# The longest name in the folder: that of a shared connection has 40 characters, and a dot and 16
# more while ssh binds it.
_LONGEST_NAME = 40 + 17
# What OpenSSH would read as its own in a path between quotes; `%` alone can be doubled.
_NOT_FOR_SSH = frozenset('"\\$\n\r')


def user_folder(kind: Literal["config", "state"]) -> Path:
    """Return this user's folder for what is set, or for what is kept.

    Raises:
        RuntimeError: the user has no home.
    """
    name, usual = _FOLDERS[kind]
    if sys.platform == "linux":  # what platformdirs does there, which takes long to import
        named, home = os.environ.get(name, ""), os.environ.get("HOME", "")
        if named.startswith("/"):
            return Path(named, _OURS)
        if home.startswith("/"):
            return Path(home, usual, _OURS)
    import platformdirs

    if kind == "config":
        return platformdirs.user_config_path(_OURS, appauthor=False)
    return platformdirs.user_state_path(_OURS, appauthor=False)


def config_folder() -> Path | None:
    """Return this user's folder for what is set; None where the user has no home."""
    try:
        return user_folder("config")
    except RuntimeError:  # neither HOME nor an entry in the list of users says where it is
        return None


def config_file(name: str) -> Path:
    """Return the path of one of the user's own files for what is set.

    Raises:
        SettingsError: the user has no home.
    """
    folder = config_folder()
    if folder is None:
        raise SettingsError(f"there is no home folder for the user's file {name!r}; set HOME")
    return folder / name


def make_private(folder: Path) -> None:
    """Make a folder and its missing parents, each of mode 0700 whatever the umask.

    Raises:
        OSError: it cannot be made, or is there and is no folder.
    """
    missing: list[Path] = []
    above = folder
    while not os.path.lexists(above):
        missing.append(above)
        above = above.parent
    for each in reversed(missing):
        try:
            each.mkdir(mode=0o700)
        except FileExistsError:  # another process was faster
            continue
        if stat.S_IMODE(each.lstat().st_mode) & 0o777 != 0o700:
            each.chmod(0o700)
    if not folder.is_dir():
        raise NotADirectoryError(20, "Not a directory", str(folder))


@contextmanager
def locked(file: Path) -> Iterator[int]:
    """Hold off others who change a file while this process reads it and replaces it.

    The lock is on a file beside it, which stays: the file itself is another one after each change,
    and a folder cannot be locked on every file system. The kernel takes it from one who dies, once
    no process that was given the descriptor, which is yielded, is left either.

    Raises:
        OSError: the folder is missing, or cannot be written.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(file.with_name(f".{file.name}.lock"), flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        close_lock(descriptor)


@contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """Make a folder that one command needs, and remove it at the end.

    What commands with the same purpose have left that were killed goes, too.

    Args:
        purpose: one of `PURPOSES`; a part of the folder's name.
    """
    import tempfile

    sweep_temporary(purpose)
    with tempfile.TemporaryDirectory(prefix=f"{_OURS}-{purpose}-") as name:
        descriptor = os.open(name, _OPEN_FOLDER)
        try:
            with suppress(OSError):  # a file system that does not lock folders: nobody sweeps it
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield Path(name).resolve()
        finally:
            close_lock(descriptor)


def sweep_temporary(*purposes: str) -> int:
    """Remove the temporary folders of commands that were killed; return how many.

    The owner of a folder has it locked, which ends with the owner, however that ends.

    Args:
        purposes: whose; those of all commands by default.
    """
    import tempfile

    top = Path(tempfile.gettempdir())
    prefixes = tuple(f"{_OURS}-{purpose}-" for purpose in purposes or PURPOSES)
    return sum(
        _remove_deserted(top / name) for name in os.listdir(top) if name.startswith(prefixes)
    )


def _remove_deserted(folder: Path) -> bool:
    """Remove a temporary folder that nobody has any more; return whether that was so."""
    import shutil

    try:
        descriptor = os.open(folder, _OPEN_FOLDER)
    except OSError:  # it is gone, a link, or another user's
        return False
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid() or 0 <= time.time() - status.st_mtime < _FRESH:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
    except BlockingIOError:  # its owner lives
        return False
    except OSError as error:
        _logger.debug("%s is left: %s", folder, error)
        return False
    finally:
        close_lock(descriptor)
    return True


def close_lock(descriptor: int) -> None:
    """Close a file and release its lock, which closing alone may not do at once.

    A process that another thread is starting has the file open as well, until it runs its program.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def check_private(folder: Path) -> None:
    """Refuse a folder that somebody else could have written; a missing one passes.

    A link to a folder counts as what it leads to, and must itself be this user's or root's.

    Raises:
        StorageError: it belongs neither to this user nor to root, or others may write in it.
    """
    owners = (0, os.geteuid())
    try:
        link, status = folder.lstat(), folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise StorageError(
            f"{folder}: {error.strerror}; check the folder, or set `state_dir`"
        ) from error
    if stat.S_ISLNK(link.st_mode) and (reason := _of_others(link, 0, owners)):
        raise StorageError(
            f"{folder} is a link that {reason}, who may have it lead anywhere; set `state_dir` to"
            " a folder of your own"
        )
    if reason := _of_others(status, _OTHERS_WRITE, owners):
        raise StorageError(
            f"{folder} {reason}, so what is in it may be anybody's; look at it, then"
            f" `chmod go-w {folder}`, or set `state_dir` to a folder of your own"
        )


def check_secret(file: Path | str, status: os.stat_result) -> None:
    """Refuse a file with a secret that somebody else can read, or could have written.

    Args:
        status: what the system says of it, of the file itself and not of what a link leads to.

    Raises:
        StorageError: it is not owned by this user or root alone.
    """
    if not stat.S_ISREG(status.st_mode):
        raise StorageError(f"{file} is no regular file; put a file of your own in its place")
    if reason := _of_others(status, _OTHERS, (0, os.geteuid())):
        raise StorageError(f"{file} {reason}; chmod 600 {file}")


def of_others(path: Path) -> str:
    """Return in what way somebody else could have written a file or folder; empty where nobody.

    Somebody else is who is neither this user nor root. A link belongs to who made it, and counts
    with what it leads to. The group that a user is alone in, after whom it is named, is no other's.

    Raises:
        OSError: it is not there, or may not be looked at.
    """
    owners = (0, os.geteuid())
    status = path.stat()
    rights = stat.S_IWOTH if _is_private(status.st_gid) else _OTHERS_WRITE
    return _of_others(path.lstat(), 0, owners) or _of_others(status, rights, owners)


def _is_private(group: int) -> bool:
    """Return whether a group is this user's private one, as most systems make it for each user."""
    import grp
    import pwd

    if os.geteuid() == 0:
        return False
    try:
        user, found = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:  # a user or group without a name
        return False
    return found.gr_name == user.pw_name and set(found.gr_mem) <= {user.pw_name}


def runtime_folder() -> Path:
    """Return this user's folder for sockets, which only the user may enter.

    It is in the first of XDG_RUNTIME_DIR, TMPDIR and /tmp in which the path of a socket is short
    enough. Where a folder cannot be used for another reason, that is logged, once in a process.

    Raises:
        LaunchError: none of them is usable; with the reason for each.
    """
    folder, note = find_runtime_folder()
    if note:
        _log_once(note)
    return folder


def find_runtime_folder() -> tuple[Path, str]:
    """Return the folder for sockets, and why it is not the one that was named first, if so.

    Raises:
        LaunchError: as `runtime_folder`.
    """
    problems: list[str] = []
    too_long: list[str] = []
    for name, base in _bases():
        folder = Path(base, f"claude-mpm-{os.getuid()}")
        if _is_too_long(folder):
            too_long.append(f"{name} is too long for the path of a socket: {base}")
        elif problem := _problem(Path(base), folder):
            problems.append(f"{name} {problem}")
        else:
            note = f"{'; '.join(problems)}; sockets are in {folder} instead" if problems else ""
            return folder, note
    reasons = "; ".join(problems + too_long)
    raise LaunchError(f"no folder for sockets: {reasons}; set XDG_RUNTIME_DIR to one of your own")


def _bases() -> list[tuple[str, str]]:
    named = [(name, os.environ.get(name, "")) for name in ("XDG_RUNTIME_DIR", "TMPDIR")]
    return [*((name, base) for name, base in named if base), ("/tmp", "/tmp")]


def _is_too_long(folder: Path) -> bool:
    return len(os.fsencode(folder)) + 1 + _LONGEST_NAME > _LONGEST_PATH


def _problem(base: Path, folder: Path) -> str:
    """Make the folder where it is missing; return why it cannot be used, empty where it can."""
    if not base.is_absolute():
        return f"is not an absolute path: {base}"
    if not _NOT_FOR_SSH.isdisjoint(str(base)):
        return f"has characters that ssh does not take: {str(base)!r}"
    try:
        above = base.stat()
        # In a sticky folder, as /tmp is one, others cannot rename what is ours.
        rights = 0 if above.st_mode & stat.S_ISVTX else _OTHERS_WRITE
        if reason := _of_others(above, rights, (0, os.geteuid())):
            return f"cannot be used: {base} {reason}"
        if not os.path.lexists(folder):
            make_private(folder)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode):
            return f"cannot be used: {folder} is no folder; remove it"
        if reason := _of_others(status, _OTHERS, (os.geteuid(),)):
            return f"cannot be used: {folder} {reason}; remove it"
        probe = folder / f".{os.urandom(6).hex()}"
        probe.mkdir(mode=0o700)  # it may be read-only, or full
        probe.rmdir()
    except OSError as error:
        return f"cannot be used: {base}: {error.strerror}"
    return ""


def _of_others(status: os.stat_result, rights: int, owners: tuple[int, ...]) -> str:
    """Return in what way a folder is somebody else's as well; empty where it is not."""
    if status.st_uid not in owners:
        return f"belongs to another user (uid {status.st_uid})"
    if status.st_mode & rights:
        how = "written" if status.st_mode & _OTHERS_WRITE else "read"
        return f"can be {how} by others (mode {stat.S_IMODE(status.st_mode):04o})"
    return ""


@functools.cache
def _log_once(text: str) -> None:
    """Log something once in a process."""
    _logger.warning("%s", text)
