"""The lock of a session's link process; the kernel releases it when the process dies."""

from __future__ import annotations

import fcntl
import os
import threading
from typing import TYPE_CHECKING

from claude_mpm.folders import close_lock

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder

_TRIES, _PAUSE = 10, 0.02  # `is_linked` holds the lock for a moment


def become_link(folder: SessionFolder) -> bool:
    """Try to become the link of a session, until this process ends; return whether we are."""
    # The file that makes it a session with a link: it is there as long as that is.
    descriptor = os.open(folder.link_file, os.O_RDONLY | os.O_CLOEXEC)
    nobody = threading.Event()
    for _ in range(_TRIES):
        if _try(descriptor, fcntl.LOCK_EX):
            return True
        nobody.wait(_PAUSE)
    os.close(descriptor)
    return False


def is_linked(folder: SessionFolder) -> bool:
    """Return whether a link is running."""
    try:
        descriptor = os.open(folder.link_file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two who look at the same time do not take each other for the link.
        return not _try(descriptor, fcntl.LOCK_SH)
    finally:
        close_lock(descriptor)


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
