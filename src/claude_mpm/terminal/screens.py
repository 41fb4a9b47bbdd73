"""The screens of a session: any number of clients that show the program's output, and type."""

from __future__ import annotations

import hashlib
import os
import selectors
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from claude_mpm.folders import runtime_folder
from claude_mpm.terminal.frames import (
    CONTINUED,
    DATA,
    ENDED,
    RESIZED,
    STOPPED,
    FrameError,
    FrameReader,
    Size,
    frame,
    read_size,
)

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.terminal.modes import Modes

_CHUNK = 1 << 16
_MAX_UNSENT = 4 << 20  # bytes that a screen may leave unread before it is disconnected


def socket_path(session: Path) -> str:
    """Return the path of the socket for the screens of a session.

    Raises:
        LaunchError: there is no usable runtime folder.
    """
    name = hashlib.blake2b(os.fsencode(session), digest_size=8).hexdigest()
    return f"{runtime_folder()}/{name}.screen"


class Screen:
    """One connected screen.

    Attributes:
        size: its size; None until it was received.
        unsent: bytes for which its socket had no room yet.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.size: Size | None = None
        self.unsent = bytearray()
        self.reader = FrameReader()

    def resize(self, size: Size) -> None:
        """Set its size."""
        self.size = size

    def send(self, message: bytes) -> None:
        """Send a message, as far as its socket has room; the rest stays unsent.

        Raises:
            OSError: the screen is gone.
            BlockingIOError: some of it is unsent.
        """
        self.unsent += message
        while self.unsent:
            del self.unsent[: self.connection.send(self.unsent[:_CHUNK])]


class Screens:
    """Accepts screens, and passes bytes between them and the program.

    A screen that does not read is disconnected, so that it delays neither the program nor others.

    Args:
        path: of the socket.
        selector: the host's; it calls the methods that read and write.
        modes: those of the program, which are set on a new screen.

    Attributes:
        typed: bytes from the screens; the host clears it once it has passed them on.
        continued: whether a screen asks to continue a stopped program.
    """

    def __init__(self, path: str, selector: selectors.BaseSelector, modes: Modes) -> None:
        self.path = path
        self.typed = bytearray()
        self.continued = False
        self._joined = False
        self._selector = selector
        self._modes = modes
        self._screens: list[Screen] = []
        with suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 -- of a host that was killed
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._listener.setblocking(False)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def __bool__(self) -> bool:
        """Return whether a screen is connected."""
        return any(screen.size for screen in self._screens)

    @property
    def size(self) -> Size | None:
        """The size that fits on every screen; None if there is none."""
        sizes = [screen.size for screen in self._screens if screen.size]
        if not sizes:
            return None
        return Size(min(size.rows for size in sizes), min(size.columns for size in sizes))

    def take_joined(self) -> bool:
        """Return whether a screen has connected since the last call, and forget it."""
        joined, self._joined = self._joined, False
        return joined

    def note_running(self) -> None:
        """Note that the program runs: a request to continue it is answered by that."""
        self.continued = False

    def show(self, data: bytes) -> None:
        """Send the program's output to all screens."""
        self._broadcast(frame(DATA, data))

    def send_stopped(self) -> None:
        """Notify all screens that the program has stopped itself."""
        self._broadcast(frame(STOPPED))

    def send_ended(self) -> None:
        """Notify all screens that the program has ended, and disconnect them."""
        self._broadcast(frame(ENDED))
        for screen in tuple(self._screens):
            screen.connection.settimeout(1.0)
            with suppress(OSError):
                screen.connection.sendall(screen.unsent)
            self._drop(screen)

    def close(self) -> None:
        """Stop accepting screens."""
        self._selector.unregister(self._listener)
        self._listener.close()
        with suppress(FileNotFoundError):
            os.unlink(self.path)  # noqa: PTH108

    def _broadcast(self, message: bytes) -> None:
        for screen in tuple(self._screens):
            if screen.size:
                self._send(screen, message)

    def _accept(self, _: int) -> None:
        with suppress(BlockingIOError, ConnectionError):
            connection, _address = self._listener.accept()
            connection.setblocking(False)
            screen = Screen(connection)
            self._screens.append(screen)
            self._selector.register(
                connection, selectors.EVENT_READ, lambda events: self._serve(screen, events)
            )

    def _serve(self, screen: Screen, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._send(screen, b"")
        if events & selectors.EVENT_READ:
            self._receive(screen)

    def _receive(self, screen: Screen) -> None:
        try:
            data = screen.connection.recv(_CHUNK)
            for kind, content in screen.reader.feed(data):
                self._handle_frame(screen, kind, content)
        except BlockingIOError:
            return
        except (OSError, FrameError):
            data = b""
        if not data:
            self._drop(screen)

    def _handle_frame(self, screen: Screen, kind: bytes, data: bytes) -> None:
        if kind == DATA:
            self.typed += data
        elif kind == RESIZED:
            if screen.size is None:
                self._joined = True
                self._send(screen, frame(DATA, self._modes.enable_sequences()))
            screen.resize(read_size(data))
        elif kind == CONTINUED:
            self.continued = True

    def _send(self, screen: Screen, message: bytes) -> None:
        try:
            screen.send(message)
        except BlockingIOError:
            if len(screen.unsent) > _MAX_UNSENT:
                self._drop(screen)
                return
        except OSError:
            self._drop(screen)
            return
        self._wait_for(screen)

    def _wait_for(self, screen: Screen) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if screen.unsent else 0)
        key = self._selector.get_key(screen.connection)
        if key.events != events:
            self._selector.modify(screen.connection, events, key.data)

    def _drop(self, screen: Screen) -> None:
        if screen in self._screens:
            self._screens.remove(screen)
            self._selector.unregister(screen.connection)
            screen.connection.close()
