"""The processes of a session on this machine, found by the environment that its host gave them."""

from __future__ import annotations

import os
import signal
import stat
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from claude_mpm.errors import StorageError
from claude_mpm.journal.storage import remove_tree
from claude_mpm.patterns import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from claude_mpm.journal.exchange import ExchangeFile

MARK = b"CLAUDE_MPM_FOLDER="
_PROC = Path("/proc")
_HOST = b"/host.sh"
_TEMPORARY = lazy_pattern(r"mpm\.[A-Za-z0-9_]{6,12}")
_GRACE = 3.0  # seconds for Claude to end its tools on its own
_PAUSE = 0.05


def exists(pid: int) -> bool:
    """Return whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def belongs(pid: int, session: Path) -> bool:
    """Return whether a process of this machine is the session's; true if that cannot be known."""
    if pid <= 0 or not exists(pid):
        return False
    if not (_PROC / "self").exists():
        return True
    folder = _session_of(_PROC / str(pid))
    return folder is None or folder == os.fsencode(session)


def marked() -> dict[Path, list[int]]:
    """Return the processes of every session on this machine, by the session's folder."""
    processes: dict[Path, list[int]] = {}
    for entry in _PROC.glob("[0-9]*"):
        session = _session_of(entry)
        if session and int(entry.name) != os.getpid():
            processes.setdefault(Path(os.fsdecode(session)), []).append(int(entry.name))
    return processes


def sees_our_files(pid: int) -> bool:
    """Return whether a process sees the same files under the same paths as this one."""
    try:
        return (_PROC / str(pid) / "ns/mnt").readlink() == (_PROC / "self/ns/mnt").readlink()
    except OSError:  # it has ended, or is another user's
        return False


def end(session: Path) -> int:
    """End the processes that a session has on this machine; return how many there were.

    They get SIGTERM first, on which Claude ends its tools.
    """
    signalled: set[int] = set()
    for signum in (signal.SIGTERM, signal.SIGKILL):
        if not _end_by(signum, session, signalled):
            break
    return len(signalled)


def _end_by(signum: int, session: Path, signalled: set[int]) -> bool:
    """Send what a session has on this machine a signal, and return whether any of it is left.

    Args:
        signalled: the processes that were found until now; those found here are added.
    """
    deadline = time.monotonic() + _GRACE
    never_set = threading.Event()
    while remaining := set(marked().get(session, ())):
        _send(remaining - signalled if signum == signal.SIGTERM else remaining, signum)
        signalled |= remaining
        if time.monotonic() > deadline:
            return True  # after SIGKILL: another user's, or stuck in the kernel
        never_set.wait(_PAUSE)
    return False


def temporary_base(environ: Mapping[str, str]) -> str:
    """Return the folder in which a host with these variables makes its temporary folder."""
    return environ.get("CLAUDE_CODE_TMPDIR") or environ.get("TMPDIR") or "/tmp"


def remove_temporary(note: ExchangeFile, base: str) -> bool:
    """Remove the folder of Claude's temporary files; return whether there was one.

    Args:
        note: the file in which the host wrote its path; it is not trusted beyond the name.
        base: the folder in which the host made it; empty if unknown.
    """
    try:
        folder = Path(os.fsdecode(note.read().strip()))
        exists_here = _is_temporary(folder, base)
        if exists_here:
            with suppress(OSError):  # another user's file in it
                remove_tree(folder)
    except FileNotFoundError:
        return False
    except (StorageError, ValueError):  # the path is unknown
        exists_here = False
    note.remove()
    return exists_here


def _is_temporary(folder: Path, base: str) -> bool:
    """Return whether a folder is one that a host makes, and so may be removed, and not a link."""
    bases = {base} if base else {_default_base(), "/tmp"}
    try:
        status = folder.lstat()
    except OSError:
        return False
    is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    return is_ours and bool(_TEMPORARY.fullmatch(folder.name)) and str(folder.parent) in bases


def _default_base() -> str:
    import tempfile  # of use to hardly any start

    return tempfile.gettempdir()


def remove_socket(note: Path) -> None:
    """Remove the socket of a terminal host that was killed, whose path the host wrote to `note`."""
    try:
        socket = Path(note.read_text().strip())
    except FileNotFoundError:
        return
    # Only a socket that a host could have made.
    if socket.suffix == ".screen" and socket.is_socket() and socket.owner() == note.owner():
        socket.unlink(missing_ok=True)


def _send(pids: Iterable[int], signum: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signum)


def _session_of(entry: Path) -> bytes | None:
    """Return the session folder to which a process belongs; None if that may not be read."""
    try:
        if (entry / "stat").read_bytes().rpartition(b") ")[2][:1] in (b"Z", b"X"):
            return b""
        arguments = (entry / "cmdline").read_bytes().split(b"\0")
        # A host and its helpers: sh .../host.sh SESSION ...
        if len(arguments) > 2 and arguments[1].endswith(_HOST):
            return arguments[2]
        variables = (entry / "environ").read_bytes().split(b"\0")
    except PermissionError:
        return None
    except OSError:  # it has ended
        return b""
    marks = (variable[len(MARK) :] for variable in variables if variable.startswith(MARK))
    return next(marks, b"")
