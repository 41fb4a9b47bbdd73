"""TLS without a socket: what comes from the network goes in, what is for it comes out.

Both sides of a remote session use it: the server, because an event loop's own TLS reserves a
quarter of a megabyte for each connection that has not even said who it is; the client, because one
thread reads while another writes, which a TLS socket does not promise to bear.
"""

from __future__ import annotations

import ssl
from contextlib import suppress

_RECORD = 1 << 14


class TlsLayer:
    """One end of a TLS connection.

    Args:
        context: the certificates and what is checked.
        server_side: whether this is the end that was called.
        server_name: the name that the other end's certificate must bear.
    """

    def __init__(
        self, context: ssl.SSLContext, *, server_side: bool = False, server_name: str | None = None
    ) -> None:
        self._from_network = ssl.MemoryBIO()
        self._to_network = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._from_network,
            self._to_network,
            server_side=server_side,
            server_hostname=server_name,
        )
        self.ready = False

    def handshake(self) -> None:
        """Go on with the handshake; `ready` once it is done. What it says is in `outgoing`.

        Raises:
            ssl.SSLError: the other end does not speak TLS, or is not the one it must be.
        """
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return
        self.ready = True

    def receive(self, data: bytes) -> bytes:
        """Take what came from the network, and return what it says; nothing before `ready`."""
        self._from_network.write(data)
        if not self.ready:
            self.handshake()
        return self._read() if self.ready else b""

    def send(self, data: bytes) -> None:
        """Seal what is to be said; it is in `outgoing` then."""
        self._tls.write(data)

    @property
    def pending(self) -> bool:
        """Whether there is something for the network."""
        return self._to_network.pending > 0

    def outgoing(self) -> bytes:
        """Return what is for the network, and forget it."""
        return self._to_network.read()

    def _read(self) -> bytes:
        pieces = []
        with suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while piece := self._tls.read(_RECORD):
                pieces.append(piece)
        return b"".join(pieces)
