"""The user's terminal as a screen of a session: bytes are passed both ways, unchanged."""

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
    resized_frame,
)
from claude_mpm.terminal.modes import Modes
from claude_mpm.terminal.tty_restorer import TtyRestorer

if TYPE_CHECKING:
    from types import FrameType

_CHUNK = 1 << 16


class ScreenEnd(Enum):
    """Why a screen was closed.

    ENDED: the program has ended. LOST: the host has ended, or has disconnected a screen that did
    not keep up. LEFT: the terminal was closed.
    """

    ENDED = "ended"
    LOST = "lost"
    LEFT = "left"


def show_screen(path: str, *, keyboard: int = 0, display: int = 1) -> ScreenEnd:
    """Show a session's screen on a terminal until one of them ends.

    The terminal's state is restored at the end, even if this process is killed.

    Args:
        path: of the socket, as the session's file `screen` names it.
        keyboard: the terminal's descriptor for reading.
        display: its descriptor for writing.

    Raises:
        SessionEnded: no host listens there any more.
    """
    with socket.socket(socket.AF_UNIX) as host:
        try:
            host.connect(path)
        except OSError as error:
            raise SessionEnded(f"there is no screen any more: {path}: {error.strerror}") from error
        with _Terminal(keyboard, display) as terminal:
            return _Client(host, terminal).run()


class _Terminal:
    """A terminal in raw mode: every key is delivered at once, and unchanged."""

    def __init__(self, keyboard: int, display: int) -> None:
        self.keyboard = keyboard
        self._display = display
        self._saved = termios.tcgetattr(keyboard)
        self._modes = Modes()
        self._restorer = TtyRestorer(display)

    def __enter__(self) -> Self:
        self.enter_raw_mode()
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()
        self._restorer.release()

    @property
    def size(self) -> Size:
        """Its size."""
        size = os.get_terminal_size(self._display)
        return Size(size.lines or 24, size.columns or 80)  # the usual default of terminfo

    def enter_raw_mode(self) -> None:
        """Read single keys, not lines."""
        self._restorer.set_reset(self._modes.reset_sequences())
        tty.setraw(self.keyboard, termios.TCSADRAIN)

    def restore(self) -> None:
        """Restore the state in which it was."""
        with suppress(OSError, termios.error):  # it may have been closed
            self._write(self._modes.reset_sequences())
            # Discards reports of the terminal or the mouse, which the next program would read.
            termios.tcsetattr(self.keyboard, termios.TCSAFLUSH, self._saved)

    def show(self, data: bytes) -> None:
        """Write the program's output."""
        if self._modes.feed(data):
            self._restorer.set_reset(
                self._modes.reset_sequences()
            )  # first: we may be killed in between
        self._write(data)

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._display, data) :]


class _Client:
    """Passes bytes between the terminal and the host, in one thread."""

    def __init__(self, host: socket.socket, terminal: _Terminal) -> None:
        self._host = host
        self._terminal = terminal
        self._frames = FrameReader()
        self._resized = True

    def run(self) -> ScreenEnd:
        """Pass bytes until one of them ends."""
        with ExitStack() as undo:
            read, write = os.pipe()
            undo.callback(os.close, read)
            undo.callback(os.close, write)
            os.set_blocking(write, False)
            before = signal.signal(signal.SIGWINCH, self._on_resize)
            undo.callback(signal.signal, signal.SIGWINCH, before)
            undo.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(write))
            return self._forward(read)

    def _on_resize(self, _signum: int, _frame: FrameType | None) -> None:
        self._resized = True

    def _forward(self, woken: int) -> ScreenEnd:
        while True:
            if self._resized:
                self._resized = False
                self._send(resized_frame(self._terminal.size))
            host = self._host.fileno()
            ready, _, _ = select.select([host, self._terminal.keyboard, woken], [], [])
            if woken in ready:
                os.read(woken, 512)
            if host in ready and (end := self._receive()) is not None:
                return end
            if self._terminal.keyboard in ready and not self._send_keys():
                return ScreenEnd.LEFT

    def _send_keys(self) -> bool:
        """Send what was typed; return False if the terminal was closed."""
        try:
            keys = os.read(self._terminal.keyboard, _CHUNK)
        except OSError:
            return False
        self._send(frame(DATA, keys))
        return bool(keys)

    def _send(self, message: bytes) -> None:
        with suppress(ConnectionError):  # noticed when reading
            self._host.sendall(message)

    def _receive(self) -> ScreenEnd | None:
        try:
            data = self._host.recv(_CHUNK)
        except ConnectionError:
            data = b""
        if not data:
            return ScreenEnd.LOST
        for kind, content in self._frames.feed(data):
            if kind == DATA:
                self._terminal.show(content)
            elif kind == STOPPED:
                self._stop()
            elif kind == ENDED:
                return ScreenEnd.ENDED
        return None

    def _stop(self) -> None:
        """Stop this process group as the program did, for the shell; then continue both."""
        self._terminal.restore()
        os.killpg(0, signal.SIGTSTP)
        self._terminal.enter_raw_mode()
        self._send(frame(CONTINUED))
        self._resized = True
