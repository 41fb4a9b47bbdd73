"""A link that is cut: a TCP proxy on loopback between a client and its server."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK = 1 << 14
_AT_ONCE = struct.pack("ii", 1, 0)  # closing forgets what is under way, as a cut does


class CutProxy:
    """Passes bytes on in both directions, and cuts each connection after some of them.

    Args:
        target: host and port of the server.
        allowance: called for each connection; returns how many bytes it may carry, both directions
            together, before it is cut; None for one that is not cut.

    Attributes:
        address: where clients connect to.
        cuts: how many connections were cut in the middle.
    """

    def __init__(
        self, target: tuple[str, int], allowance: Callable[[], int | None] = lambda: None
    ) -> None:
        self._target = target
        self._allowance = allowance
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self.cuts = 0
        self._pairs: set[_Pair] = set()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._accept, name="cut-proxy", daemon=True)

    def __enter__(self) -> Self:
        """Start to accept connections."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End all connections and accept no more."""
        with suppress(OSError):  # how other systems report that `accept` was woken
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        self.cut()

    def cut(self) -> None:
        """Cut every connection that stands now."""
        for pair in self._standing():
            pair.cut()

    def wait_for_cuts(self, count: int, timeout: float) -> bool:
        """Wait (seconds) until so many connections were cut; return whether they were."""
        with self._changed:
            return self._changed.wait_for(lambda: self.cuts >= count, timeout)

    def _standing(self) -> list[_Pair]:
        with self._changed:
            return list(self._pairs)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            pair = _Pair(self, client, server, self._allowance())
            with self._changed:
                self._pairs.add(pair)
            pair.start()

    def forget(self, pair: _Pair, *, was_cut: bool) -> None:
        """Called by a pair when it has ended."""
        with self._changed:
            self._pairs.discard(pair)
            self.cuts += was_cut
            self._changed.notify_all()


class _Pair:
    """One connection through the proxy."""

    def __init__(
        self, proxy: CutProxy, client: socket.socket, server: socket.socket, allowance: int | None
    ) -> None:
        self._proxy = proxy
        self._ends = (client, server)
        self._left = allowance
        self._lock = threading.Lock()
        self._ended = False

    def start(self) -> None:
        """Begin to pass bytes on."""
        for source, sink in (self._ends, reversed(self._ends)):
            threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def cut(self) -> None:
        """End both connections abruptly, in the middle of whatever they carry."""
        self._end(was_cut=True)

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                allowed = self._take(len(data))
                sink.sendall(data[:allowed])
                if allowed < len(data):
                    self.cut()
        self._end(was_cut=False)

    def _take(self, count: int) -> int:
        with self._lock:
            if self._left is None:
                return count
            allowed = min(count, self._left)
            self._left -= allowed
            return allowed

    def _end(self, *, was_cut: bool) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
        for end in self._ends:
            with suppress(OSError):  # the other end has disconnected
                if was_cut:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                end.shutdown(socket.SHUT_RDWR)
        self._proxy.forget(self, was_cut=was_cut)
        for end in self._ends:
            end.close()
