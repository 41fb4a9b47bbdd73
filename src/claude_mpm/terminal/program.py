"""A program on a pseudo-terminal of its own, in the foreground of it."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import termios
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

    from claude_mpm.terminal.frames import Size

_CHUNK = 1 << 16
_CANNOT_RUN = 127
# What the host itself does not want to be disturbed by, and the program has to hear of.
OF_THE_TERMINAL = (signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGTSTP)


class Program:
    """Starts a program on a new terminal.

    This process becomes the owner of the terminal, as a shell is, and must lead a session of its
    own. So the program can stop itself, as with Ctrl-Z, and be continued; and it is told when this
    process dies.

    Args:
        command: the program and its arguments.
        cwd: the folder to work in.
        environ: the program's whole environment.
        size: how large the terminal is.

    Attributes:
        master: the descriptor on which the program is read and written to.
        status: how it ended, as a shell counts; None while it runs.
        stopped: whether it has stopped itself and waits to be continued.
    """

    def __init__(
        self, command: Sequence[str], cwd: str, environ: Mapping[str, str], size: Size
    ) -> None:
        self.master, slave = pty.openpty()
        self.status: int | None = None
        self.stopped = False
        self._size = size
        self._unwritten = bytearray()
        self.resize(size)
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        self.pid = os.fork()
        if not self.pid:
            _become(command, cwd, environ, slave)
        os.close(slave)
        os.set_blocking(self.master, False)

    @property
    def size(self) -> Size:
        """How large the terminal is."""
        return self._size

    def resize(self, size: Size) -> None:
        """Change the size; the program is told by SIGWINCH."""
        self._size = size
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))

    def read(self) -> bytes | None:
        """Return what the program has written, if anything; None once nobody can write more."""
        try:
            return os.read(self.master, _CHUNK)
        except BlockingIOError:
            return b""
        except OSError:  # how a terminal says that nobody has its other end
            return None

    @property
    def unwritten(self) -> bool:
        """Whether there are keys that the terminal has no room for yet."""
        return bool(self._unwritten)

    def write(self, keys: bytes) -> None:
        """Type; what there is no room for goes with the next call, which may have no keys."""
        self._unwritten += keys
        with suppress(OSError):  # no room, or nobody there
            while self._unwritten:
                del self._unwritten[: os.write(self.master, self._unwritten[:_CHUNK])]

    def look(self) -> None:
        """Find out whether it has ended, or stopped."""
        while self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            if not pid:
                return
            if os.WIFSTOPPED(status):
                self.stopped = True
            elif os.WIFCONTINUED(status):
                self.stopped = False
            else:
                code = os.waitstatus_to_exitcode(status)
                self.status = code if code >= 0 else 128 - code

    def signal(self, signum: int) -> None:
        """Send it a signal; one that has ended already is no error."""
        if self.status is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signum)

    def go_on(self) -> None:
        """Continue a program that has stopped, and what runs with it in the foreground."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """Let go of the terminal."""
        os.close(self.master)


def _become(
    command: Sequence[str], cwd: str, environ: Mapping[str, str], terminal: int
) -> NoReturn:
    """Turn this new process into the program, in the foreground of its terminal."""
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        os.tcsetpgrp(terminal, os.getpid())
        for signum in (*OF_THE_TERMINAL, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(signum, signal.SIG_DFL)
        for descriptor in range(3):
            os.dup2(terminal, descriptor)
        os.chdir(cwd)
        os.execvpe(command[0], list(command), dict(environ))
    except OSError as error:
        os.write(2, f"{error.filename or command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(_CANNOT_RUN)
