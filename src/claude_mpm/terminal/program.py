"""What a terminal host runs: the launch specification, and the program on its pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import termios
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.terminal.frames import Size

_CHUNK = 1 << 16
NOT_STARTED = 126  # the exit status if the program was never run
_CANNOT_RUN = 127
# Signals of the terminal, which the host ignores and the program handles.
TERMINAL_SIGNALS = (signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGTSTP)


class LaunchSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How a program is started on a terminal.

    Args:
        command: the program and its arguments.
        cwd: the working folder.
        environ: the program's whole environment.
        linger: seconds to wait for the next follower once the last one is gone.
        linger_limit: seconds that the program then has to end on its own.
        conversation: the id under which Claude stores the conversation; empty if the program is
            not Claude.
        first_event_timeout: seconds for Claude to accept a prompt; None for no limit.
        screen: whether the program is started only once a screen is attached.
        resuming: further arguments for a conversation that is resumed.
    """

    command: list[str]
    cwd: str
    environ: dict[str, str]
    linger: float
    linger_limit: float
    conversation: str = ""
    first_event_timeout: float | None = None
    screen: bool = False
    resuming: list[str] = []


def write_launch_spec(folder: SessionFolder, spec: LaunchSpec) -> None:
    """Write the specification into the session's folder, for its host."""
    folder.write(folder.terminal, msgspec.json.encode(spec))


def take_launch_spec(folder: SessionFolder) -> LaunchSpec:
    """Read the specification and remove its file: its environment may contain secrets."""
    data = folder.terminal.read_bytes()
    folder.terminal.unlink()
    return msgspec.json.decode(data, type=LaunchSpec)


class Program:
    """A program that runs on a new pseudo-terminal, in its foreground.

    This process becomes the controlling process of the terminal, as a shell is, and must be a
    session leader. So the program can stop itself, as with Ctrl-Z, and be continued; and the kernel
    signals it when this process dies.

    Args:
        command: the program and its arguments.
        cwd: the working folder.
        environ: the program's whole environment.
        size: the size of the terminal.

    Attributes:
        master: the descriptor of the terminal from which the program's output is read.
        status: its exit status as in a shell; None while it runs.
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
            _exec(command, cwd, environ, slave)
        os.close(slave)
        os.set_blocking(self.master, False)

    @property
    def size(self) -> Size:
        """The size of the terminal."""
        return self._size

    def resize(self, size: Size) -> None:
        """Change the size; the kernel sends the program SIGWINCH."""
        self._size = size
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))

    def read(self) -> bytes | None:
        """Return new output, perhaps none; None once no process has the terminal open any more."""
        try:
            return os.read(self.master, _CHUNK)
        except BlockingIOError:
            return b""
        except OSError:  # no process has the other end open
            return None

    @property
    def unwritten(self) -> bool:
        """Whether there are keys for which the terminal has no room yet."""
        return bool(self._unwritten)

    def write(self, keys: bytes) -> None:
        """Type keys; those without room are written by the next call, which may have no keys."""
        self._unwritten += keys
        with suppress(OSError):  # no room, or the program has ended
            while self._unwritten:
                del self._unwritten[: os.write(self.master, self._unwritten[:_CHUNK])]

    def poll(self) -> None:
        """Update `status` and `stopped`."""
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
        """Send it a signal; does nothing if it has ended."""
        if self.status is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signum)

    def resume(self) -> None:
        """Continue a stopped program, with the rest of its foreground process group."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """Close the terminal."""
        os.close(self.master)


def _exec(command: Sequence[str], cwd: str, environ: Mapping[str, str], terminal: int) -> NoReturn:
    """Replace this forked process by the program, in the foreground of its terminal."""
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        os.tcsetpgrp(terminal, os.getpid())
        for signum in (*TERMINAL_SIGNALS, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(signum, signal.SIG_DFL)
        for descriptor in range(3):
            os.dup2(terminal, descriptor)
        os.chdir(cwd)
        os.execvpe(command[0], list(command), dict(environ))
    except OSError as error:
        os.write(2, f"{error.filename or command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(_CANNOT_RUN)
