"""A person's terminal as a screen of a session: bytes go both ways, and nothing is added."""

from __future__ import annotations

import os
import select
import signal
import socket
import termios
import tty
from contextlib import ExitStack, suppress
from enum import Enum
from typing import TYPE_CHECKING, Self

from claude_mpm.errors import SessionEnded
from claude_mpm.terminal.frames import (
    CONTINUED,
    DATA,
    ENDED,
    STOPPED,
    FrameReader,
    Size,
    frame,
    resized,
)
from claude_mpm.terminal.modes import Modes
from claude_mpm.terminal.tty_restorer import TtyRestorer

if TYPE_CHECKING:
    from types import FrameType

_CHUNK = 1 << 16


class Ending(Enum):
    """Why a screen is not shown any more.

    ENDED: the program has ended. LOST: the host has gone, or has let go of a screen that did not
    keep up. LEFT: the terminal has ended.
    """

    ENDED = "ended"
    LOST = "lost"
    LEFT = "left"


def show_screen(path: str, *, keyboard: int = 0, display: int = 1) -> Ending:
    """Show a session's screen on a terminal until one of them ends.

    The terminal is put back into its state at the end, also where this process is killed.

    Args:
        path: of the socket, as the session's file `screen` names it.
        keyboard: the terminal's descriptor for reading.
        display: its descriptor for writing.

    Raises:
        SessionEnded: nobody listens there any more.
    """
    with socket.socket(socket.AF_UNIX) as host:
        try:
            host.connect(path)
        except OSError as error:
            raise SessionEnded(f"there is no screen any more: {path}: {error.strerror}") from error
        with _Terminal(keyboard, display) as terminal:
            return _Client(host, terminal).run()


class _Terminal:
    """A terminal that is passed through: every key arrives at once, and nothing is changed."""

    def __init__(self, keyboard: int, display: int) -> None:
        self.keyboard = keyboard
        self._display = display
        self._saved = termios.tcgetattr(keyboard)
        self._modes = Modes()
        self._restorer = TtyRestorer(display)

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()
        self._restorer.dismiss()

    @property
    def size(self) -> Size:
        """How large it is."""
        size = os.get_terminal_size(self._display)
        return Size(size.lines or 24, size.columns or 80)  # as terminfo has it of most

    def take(self) -> None:
        """Read keys, not lines."""
        self._restorer.note(self._modes.leaving())
        tty.setraw(self.keyboard, termios.TCSADRAIN)

    def give_back(self) -> None:
        """Bring it into the state in which it was."""
        with suppress(OSError, termios.error):  # it may have gone
            self._write(self._modes.leaving())
            # What the terminal reports of itself or of the mouse is no input for what comes next.
            termios.tcsetattr(self.keyboard, termios.TCSAFLUSH, self._saved)

    def show(self, data: bytes) -> None:
        """Write what the program shows."""
        if self._modes.feed(data):
            self._restorer.note(self._modes.leaving())  # first: we may be killed in between
        self._write(data)

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._display, data) :]


class _Client:
    """Passes bytes between a terminal and a host."""

    def __init__(self, host: socket.socket, terminal: _Terminal) -> None:
        self._host = host
        self._terminal = terminal
        self._frames = FrameReader()
        self._resized = True

    def run(self) -> Ending:
        """Work until one of them ends."""
        with ExitStack() as undo:
            read, write = os.pipe()
            undo.callback(os.close, read)
            undo.callback(os.close, write)
            os.set_blocking(write, False)
            before = signal.signal(signal.SIGWINCH, self._note_size)
            undo.callback(signal.signal, signal.SIGWINCH, before)
            undo.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(write))
            return self._pass(read)

    def _note_size(self, _signum: int, _frame: FrameType | None) -> None:
        self._resized = True

    def _pass(self, woken: int) -> Ending:
        while True:
            if self._resized:
                self._resized = False
                self._tell(resized(self._terminal.size))
            host = self._host.fileno()
            ready, _, _ = select.select([host, self._terminal.keyboard, woken], [], [])
            if woken in ready:
                os.read(woken, 512)
            if host in ready and (ending := self._receive()) is not None:
                return ending
            if self._terminal.keyboard in ready and not self._type():
                return Ending.LEFT

    def _type(self) -> bool:
        """Pass on what is typed; False where the terminal has gone."""
        try:
            keys = os.read(self._terminal.keyboard, _CHUNK)
        except OSError:
            return False
        self._tell(frame(DATA, keys))
        return bool(keys)

    def _tell(self, message: bytes) -> None:
        with suppress(ConnectionError):  # the end is told by what comes from there
            self._host.sendall(message)

    def _receive(self) -> Ending | None:
        try:
            data = self._host.recv(_CHUNK)
        except ConnectionError:
            data = b""
        if not data:
            return Ending.LOST
        for kind, content in self._frames.feed(data):
            if kind == DATA:
                self._terminal.show(content)
            elif kind == STOPPED:
                self._stop()
            elif kind == ENDED:
                return Ending.ENDED
        return None

    def _stop(self) -> None:
        """Stop as the program did, so that the shell has its turn; then go on, as it will."""
        self._terminal.give_back()
        os.killpg(0, signal.SIGTSTP)
        self._terminal.take()
        self._tell(frame(CONTINUED))
        self._resized = True
