"""A child process that restores the user's terminal when this process is killed.

A program that is killed leaves its terminal as it was: without echo, on the alternate screen, with
the mouse reported as keys. The child notices our death as the end of a pipe.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress

# Its input is the pipe, its output the terminal. In a session of its own it gets no signal from
# there, and may set a terminal on which something else runs in the foreground by then.
_SCRIPT = r"""
trap '' HUP INT QUIT TERM TSTP TTIN TTOU
while read -r line; do
    [ "$line" = done ] && exit
    reset=$line
done
printf '%b' "$reset" # first, and at once: a shell is about to print its prompt
stty "$1" <&1
"""


class TtyRestorer:
    """Restores a terminal if this process dies before `release` is called.

    Args:
        terminal: its descriptor; it is now in the state that is to be restored.
    """

    def __init__(self, terminal: int) -> None:
        saved = subprocess.run(
            ["stty", "-g"], stdin=terminal, capture_output=True, text=True, check=True
        ).stdout.strip()
        self._process = subprocess.Popen(
            ["sh", "-c", _SCRIPT, "sh", saved],
            stdin=subprocess.PIPE,
            stdout=terminal,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._reset = b""

    def set_reset(self, reset: bytes) -> None:
        """Set the sequences that would have to be printed to reset the terminal's modes."""
        if reset != self._reset:
            self._reset = reset
            self._send("".join(f"\\0{byte:03o}" for byte in reset))

    def release(self) -> None:
        """End the child process: the terminal was restored."""
        self._send("done")
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        self._process.wait()

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # the child was killed
            os.write(self._process.stdin.fileno(), f"{line}\n".encode())
