"""A process beside ours that restores a person's terminal when ours cannot.

A program that is killed leaves its terminal as it was: without echo, on the other screen, with the
mouse reported as keys. This one learns of our death from the kernel, as the end of a pipe.
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
    """Watches over a terminal until `dismiss` is called, or this process is gone.

    Args:
        terminal: a descriptor of it; it is in the state that it is to be brought back into.
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
        self._told = b""

    def note(self, reset: bytes) -> None:
        """Say what would have to be printed from now on to take the terminal out of its modes."""
        if reset != self._told:
            self._told = reset
            self._tell("".join(f"\\0{byte:03o}" for byte in reset))

    def dismiss(self) -> None:
        """Let it go: the terminal is as it was."""
        self._tell("done")
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # it was killed itself
            os.write(self._process.stdin.fileno(), f"{line}\n".encode())
