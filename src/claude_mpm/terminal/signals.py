"""The signals of a host's process, as something to wait for."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from claude_mpm.terminal.program import OF_THE_TERMINAL


class Signals:
    """Takes the signals of this process from now on.

    Attributes:
        descriptor: it can be read when a signal has come.
        asked_to_end: whether one of them was SIGTERM.
    """

    def __init__(self) -> None:
        self.descriptor, write = os.pipe()
        for descriptor in (self.descriptor, write):
            os.set_blocking(descriptor, False)
        self.asked_to_end = False
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._note)
        for signum in OF_THE_TERMINAL:
            signal.signal(signum, signal.SIG_IGN)

    def _note(self, *_: object) -> None:
        self.asked_to_end = True

    def hear(self, _: int) -> None:
        """Read what woke us up."""
        with suppress(BlockingIOError):
            while os.read(self.descriptor, 512):
                pass
