"""The lease: held open by whoever follows a session; the kernel lets go when the holder dies."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder


class Lease:
    """Keeps a session's Claude from being ended by the linger rule."""

    def __init__(self, folder: SessionFolder) -> None:
        # Reading and writing, so that opening waits for nobody and the host may come later.
        self._descriptor = os.open(folder.lease, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        os.write(self._descriptor, b"held\n")

    def release(self) -> None:
        """Let go; safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
