"""Where sockets are: their paths have to be short, and nobody else may come near them."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from claude_mpm.errors import LaunchError

_LONGEST = 100  # bytes in the path of a socket, which some systems bound at 104


def runtime_folder() -> Path:
    """Return this user's folder for sockets, which only the user may enter.

    Raises:
        LaunchError: it belongs to somebody else.
    """
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    folder = Path(base if len(base) < _LONGEST // 2 else "/tmp") / f"claude-mpm-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid() or state.st_mode & 0o077:
        raise LaunchError(f"{folder} is not yours alone; remove it, or set XDG_RUNTIME_DIR")
    return folder


def socket_path(session: Path) -> str:
    """Return where the socket of a session's screens is."""
    name = hashlib.blake2b(os.fsencode(session), digest_size=8).hexdigest()
    return f"{runtime_folder()}/{name}.screen"
