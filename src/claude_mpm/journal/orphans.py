"""Processes of this machine that belong to a session: found by what its host gave them."""

from __future__ import annotations

import os
import re
import signal
import stat
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from claude_mpm.errors import StorageError
from claude_mpm.journal.storage import remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterable

    from claude_mpm.journal.exchange import ExchangeFile

MARK = b"CLAUDE_MPM_FOLDER="
_PROC = Path("/proc")
_HOST = b"/host.sh"
_TEMPORARY = re.compile(r"mpm\.[A-Za-z0-9_]{6,12}")
_PATIENCE = 3.0  # seconds for Claude to end its tools by itself
_PAUSE = 0.05


def exists(pid: int) -> bool:
    """Tell whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def belongs(pid: int, session: Path) -> bool:
    """Tell whether a process of this machine is the session's; where nobody can know, it may be."""
    if pid <= 0 or not exists(pid):
        return False
    if not (_PROC / "self").exists():
        return True
    found = _session_of(_PROC / str(pid))
    return found is None or found == os.fsencode(session)


def marked() -> dict[Path, list[int]]:
    """Return the processes of every session on this machine, by the session's folder."""
    found: dict[Path, list[int]] = {}
    for entry in _PROC.glob("[0-9]*"):
        session = _session_of(entry)
        if session and int(entry.name) != os.getpid():
            found.setdefault(Path(os.fsdecode(session)), []).append(int(entry.name))
    return found


def sees_our_files(pid: int) -> bool:
    """Tell whether a process has the same files under the same paths as this one."""
    try:
        return (_PROC / str(pid) / "ns/mnt").readlink() == (_PROC / "self/ns/mnt").readlink()
    except OSError:  # it is gone, or another's
        return False


def end(session: Path) -> int:
    """End the processes that a session has on this machine; return how many there were.

    Claude is asked first: it ends its tools by itself.
    """
    known: set[int] = set()
    deadline = time.monotonic() + _PATIENCE
    nobody = threading.Event()
    number = signal.SIGTERM
    while left := set(marked().get(session, ())):
        _send(left - known if number == signal.SIGTERM else left, number)
        known |= left
        if time.monotonic() > deadline + _PATIENCE:
            break  # another user's, or stuck in the kernel
        if time.monotonic() > deadline:
            number = signal.SIGKILL
        nobody.wait(_PAUSE)
    return len(known)


def remove_temporary(note: ExchangeFile, base: str) -> bool:
    """Remove Claude's temporary files, whose folder a host noted; tell if there were some.

    Args:
        note: the host's, which is believed in nothing but the name.
        base: the folder in which the host made it; empty where nobody knows.
    """
    try:
        folder = Path(os.fsdecode(note.read().strip()))
        found = _is_temporary(folder, base)
        if found:
            with suppress(OSError):  # another user's file in it
                remove_tree(folder)
    except FileNotFoundError:
        return False
    except (StorageError, ValueError):  # nobody can say where they are
        found = False
    note.remove()
    return found


def _is_temporary(folder: Path, base: str) -> bool:
    """Tell whether this is what a host makes, and so ours to remove, and no link to something."""
    bases = {base} if base else {tempfile.gettempdir(), "/tmp"}
    try:
        found = folder.lstat()
    except OSError:
        return False
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    return is_ours and bool(_TEMPORARY.fullmatch(folder.name)) and str(folder.parent) in bases


def remove_socket(note: Path) -> None:
    """Remove the socket of a terminal's host that was killed, which the host noted."""
    try:
        socket = Path(note.read_text().strip())
    except FileNotFoundError:
        return
    # As above: only what looks like what a host makes.
    if socket.suffix == ".screen" and socket.is_socket() and socket.owner() == note.owner():
        socket.unlink(missing_ok=True)


def _send(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _session_of(entry: Path) -> bytes | None:
    """Return the session's folder that a process belongs to; None where it may not be looked at."""
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
    except OSError:  # it is gone
        return b""
    return next((each[len(MARK) :] for each in variables if each.startswith(MARK)), b"")
