"""Where the socket of a session's screens is."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from claude_mpm.folders import runtime_folder

if TYPE_CHECKING:
    from pathlib import Path


def socket_path(session: Path) -> str:
    """Return where the socket of a session's screens is.

    Raises:
        LaunchError: there is no folder for it.
    """
    name = hashlib.blake2b(os.fsencode(session), digest_size=8).hexdigest()
    return f"{runtime_folder()}/{name}.screen"
