"""The statement of where a session runs, as `host.sh` makes it."""

from __future__ import annotations

import os
import pwd
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder

_CONTAINER = re.compile(r"containers/([0-9a-f]{64})/.*hostname ")


def state_place(folder: SessionFolder, cwd: str) -> str:
    """Write the statement; return why this is not the place that was asked for, empty if it is."""
    uid = os.getuid()
    user = ""
    with suppress(KeyError):  # a number without a name
        user = pwd.getpwuid(uid).pw_name
    place = {
        "host": os.uname().nodename,
        "container": _container(),
        "user": user,
        "uid": str(uid),
        "cwd": os.path.realpath(cwd),
    }
    lines = [f"{key}={value}" for key, value in place.items()]
    folder.write(folder.place, "".join(f"{line}\n" for line in lines).encode())
    with suppress(FileNotFoundError):
        for line in folder.expected_place.read_text("utf-8").splitlines():
            if line not in lines:
                return f"this is not the place that was asked for: not {line}, but {lines}"
    return ""


def _container() -> str:
    with suppress(OSError):
        found = _CONTAINER.search(Path("/proc/self/mountinfo").read_text("utf-8", "replace"))
        return found[1] if found else ""
    return ""
