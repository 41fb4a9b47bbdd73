"""TLS without a socket: received bytes go in, and bytes to send come out.

Both sides of a remote session use it: the server, because an event loop's own TLS reserves a
quarter of a megabyte for each unauthenticated connection; the client, because one thread reads
while another writes, for which TLS sockets are not guaranteed to be safe.
"""

from __future__ import annotations

import ssl
from contextlib import suppress

_RECORD = 1 << 14


class TlsLayer:
    """One end of a TLS connection.

    Args:
        context: the certificates, and how the other end's is verified.
        server_side: whether this is the server's end.
        server_name: the name that the server's certificate must have.

    Attributes:
        ready: whether the handshake is done.
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
        """Continue the handshake, whose bytes are in `outgoing`; `ready` is set once it is done.

        Raises:
            ssl.SSLError: the other end does not speak TLS, or its certificate is not accepted.
        """
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return
        self.ready = True

    def receive(self, data: bytes) -> bytes:
        """Decrypt received bytes, and return the plain text; empty before `ready`."""
        self._from_network.write(data)
        if not self.ready:
            self.handshake()
        return self._read() if self.ready else b""

    def send(self, data: bytes) -> None:
        """Encrypt data into `outgoing`."""
        self._tls.write(data)

    @property
    def pending(self) -> bool:
        """Whether there are bytes to send."""
        return self._to_network.pending > 0

    def outgoing(self) -> bytes:
        """Return the bytes to send, and remove them."""
        return self._to_network.read()

    def _read(self) -> bytes:
        pieces = []
        with suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while piece := self._tls.read(_RECORD):
                pieces.append(piece)
        return b"".join(pieces)
