"""A pseudo-terminal for tests: type, and wait for what is shown."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SECONDS = 60.0
CTRL_C = "\x03"
CTRL_D = "\x04"


class Terminal:
    """Runs a command on a terminal and keeps all that it shows.

    Args:
        size: its rows and columns.
    """

    def __init__(
        self, command: Sequence[str], environ: Mapping[str, str], size: tuple[int, int] = (40, 100)
    ) -> None:
        self.shown = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._seen = 0
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        self.process = subprocess.Popen(
            command,
            env={"TERM": "xterm", **environ},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            # Ctrl-C reaches who has the terminal as its own.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(SECONDS)
        os.close(self._master)

    def type(self, text: str) -> None:
        """Type a text; a line ends with a carriage return."""
        os.write(self._master, text.encode())

    def expect(self, text: str) -> None:
        """Wait until `text` is shown, behind what was expected before."""
        deadline = time.monotonic() + SECONDS
        while text not in self.shown[self._seen :]:
            assert time.monotonic() < deadline, f"{text!r} is not shown:\n{self.shown}"
            self._read()
        self._seen = self.shown.index(text, self._seen) + len(text)

    def press_ctrl_c(self) -> None:
        """Press Ctrl-C once the program waits for it: between its prompt and its reading there is
        a moment in which a signal is noted, but ends no waiting that is yet to begin.
        """
        ps = ["ps", "-o", "stat=", "-p", str(self.process.pid)]
        deadline = time.monotonic() + SECONDS
        while not subprocess.run(ps, capture_output=True, check=True).stdout.startswith(b"S"):
            assert time.monotonic() < deadline, f"it does not wait:\n{self.shown}"
        self.type(CTRL_C)

    def wait(self) -> int:
        """Wait for the end and return the exit status."""
        while self._read():
            pass
        return self.process.wait(SECONDS)

    def _read(self) -> bool:
        if not select.select([self._master], [], [], SECONDS)[0]:
            raise TimeoutError(f"nothing more is shown:\n{self.shown}")
        try:
            data = os.read(self._master, 65536)
        except OSError:  # how a terminal says that its other end was closed
            return False
        self.shown += self._decoder.decode(data)
        return bool(data)
