"""The screens of a session: any number of clients that see what the program shows, and type."""

from __future__ import annotations

import os
import selectors
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

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
    from collections.abc import Callable

_CHUNK = 1 << 16
_MOST_UNSENT = 4 << 20  # bytes that wait for a screen before it is given up


class Screen:
    """One client.

    Attributes:
        size: how large it is; None until it has said so.
        unsent: what it has not taken yet.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.size: Size | None = None
        self.unsent = bytearray()
        self.reader = FrameReader()


class Screens:
    """Listens for screens, and passes bytes between them and the program.

    A screen that does not read is let go of, so that it holds up neither the program nor others.

    Args:
        path: of the socket.
        selector: that the host waits with.
        entering: returns what brings a new screen into the modes of the program.
    """

    def __init__(
        self, path: str, selector: selectors.BaseSelector, entering: Callable[[], bytes]
    ) -> None:
        self.path = path
        self.typed = bytearray()  # what came from the screens, until the host has taken it
        self.joined = False  # a screen has come since the host looked
        self.continued = False  # a screen wants a program that has stopped to go on
        self._selector = selector
        self._entering = entering
        self._screens: list[Screen] = []
        with suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 -- of a host that was killed
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._listener.setblocking(False)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def __bool__(self) -> bool:
        """Tell whether anybody looks on."""
        return any(screen.size for screen in self._screens)

    @property
    def size(self) -> Size | None:
        """What fits on every screen; None where there is none."""
        sizes = [screen.size for screen in self._screens if screen.size]
        if not sizes:
            return None
        return Size(min(size.rows for size in sizes), min(size.columns for size in sizes))

    def show(self, data: bytes) -> None:
        """Pass on what the program shows."""
        self._tell(frame(DATA, data))

    def tell_stopped(self) -> None:
        """Say that the program has stopped itself."""
        self._tell(frame(STOPPED))

    def tell_ended(self) -> None:
        """Say that the program has ended, and let go of all screens."""
        self._tell(frame(ENDED))
        for screen in tuple(self._screens):
            screen.connection.settimeout(1.0)
            with suppress(OSError):
                screen.connection.sendall(screen.unsent)
            self._drop(screen)

    def close(self) -> None:
        """Listen no more."""
        self._selector.unregister(self._listener)
        self._listener.close()
        with suppress(FileNotFoundError):
            os.unlink(self.path)  # noqa: PTH108

    def _tell(self, message: bytes) -> None:
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
                self._take(screen, kind, content)
        except BlockingIOError:
            return
        except (OSError, FrameError):
            data = b""
        if not data:
            self._drop(screen)

    def _take(self, screen: Screen, kind: bytes, data: bytes) -> None:
        if kind == DATA:
            self.typed += data
        elif kind == RESIZED:
            if screen.size is None:
                self.joined = True
                self._send(screen, frame(DATA, self._entering()))
            screen.size = read_size(data)
        elif kind == CONTINUED:
            self.continued = True

    def _send(self, screen: Screen, message: bytes) -> None:
        screen.unsent += message
        try:
            while screen.unsent:
                del screen.unsent[: screen.connection.send(screen.unsent[:_CHUNK])]
        except BlockingIOError:
            if len(screen.unsent) > _MOST_UNSENT:
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
