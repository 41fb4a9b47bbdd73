"""What a host needs before it starts Claude, made by a controller that runs where the host will."""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from typing import TYPE_CHECKING

from claude_mpm.journal.orphans import temporary_base
from claude_mpm.patterns import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claude_mpm.journal.layout import SessionFolder

_MOUNTS = "/proc/self/mountinfo"
_CONTAINER = lazy_pattern(rb"(?:containers|sandboxes)/([0-9a-f]{64})/.*hostname ")
_TRIES = 100  # names for a folder, until one is free


def make_host_files(folder: SessionFolder, environ: Mapping[str, str], cwd: str) -> None:
    """Make the FIFOs, the folder of temporary files and the statement of where the host runs.

    The host then needs no commands for them, each of which would be a process. Where no folder of
    temporary files can be made, or the host is expected elsewhere, it is left to the host to report
    that.

    Args:
        folder: the session's; it is prepared, and no host runs.
        environ: the host's environment variables.
        cwd: the host's working folder.

    Raises:
        StorageError: the session's folder cannot be written.
    """
    container = container_id()
    there = cwd if environ.get("PWD") == cwd else os.path.realpath(cwd)
    statement = place_statement(container, there)
    if not folder.is_expected_at(statement):
        return
    temporary = _make_temporary(folder, temporary_base(environ))
    if not temporary:
        return
    for fifo in (folder.stdin, folder.alive):
        fifo.make_fifo()
    folder.place.write(statement)
    folder.write(folder.made, os.fsencode(f"{temporary}\n{container}\n"))


def _make_temporary(folder: SessionFolder, base: str) -> str:
    """Return the path of a new folder of mode 0700; empty where none can be made here."""
    if not base.startswith("/") or "\n" in base:  # the host's folder is another, or its file too
        return ""
    with suppress(OSError):
        os.makedirs(base, mode=0o700, exist_ok=True)  # noqa: PTH103
        for _ in range(_TRIES):
            path = f"{base}/mpm.{os.urandom(3).hex()}"  # short, for the sockets in it
            if os.path.lexists(path):
                continue
            # Written first: should this process die now, it is known what is to be removed.
            folder.temporary.write(os.fsencode(f"{path}\n"))
            with suppress(FileExistsError):  # somebody else was faster
                os.mkdir(path, mode=0o700)  # noqa: PTH102
                return path
    folder.temporary.remove()
    return ""


def container_id() -> str:
    """Return the id of the container that this process is in; empty where it is in none."""
    try:
        with open(_MOUNTS, "rb") as mounts:
            found = _CONTAINER.search(mounts.read())
    except OSError:  # not Linux
        return ""
    return found.group(1).decode() if found else ""


def place_statement(container: str, cwd: str) -> bytes:
    """Return what `host.sh` would state of where it runs: this machine, and this user.

    Args:
        container: the id of the container that this process is in; empty for none.
        cwd: the folder to work in.
    """
    uid = os.geteuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:  # a user without a name
        user = str(uid)
    host = os.uname().nodename
    statement = f"host={host}\ncontainer={container}\nuser={user}\nuid={uid}\ncwd={cwd}\n"
    return statement.encode("utf-8", "surrogateescape")
