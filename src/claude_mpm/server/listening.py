"""The listening socket of a server, and its TLS certificate."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from typing import TYPE_CHECKING, Any

from claude_mpm.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

_BACKLOG = 1024


def listen(host: str, port: int, *, tls: bool, anonymous: bool) -> socket.socket:
    """Return a listening socket; port 0 stands for any free one.

    Raises:
        UsageError: anyone who can reach the machine could connect without a token or read the
            traffic, or the address cannot be listened on.
    """
    family, address = _resolve(host, port)
    if not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        if anonymous:
            raise UsageError(
                f"--anonymous would let anyone who can reach {host} run commands here;"
                " use it on 127.0.0.1, or make tokens: claude-mpm serve token add NAME"
            )
        if not tls:
            raise UsageError(
                f"without TLS, tokens and prompts could be read on the way to {host};"
                " give --tls-cert and --tls-key, or listen on 127.0.0.1"
            )
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host}:{port}: {error.strerror}; name another port, or 0 for any"
        ) from error
    return listener


def server_certificate(
    certificate: Path | None, key: Path | None, client_ca: Path | None
) -> ssl.SSLContext | None:
    """Return the TLS context of a server; None for plain text.

    Args:
        certificate: the server's, with the intermediate ones up to its authority.
        key: its private key.
        client_ca: the authority that must have issued every client's certificate; None if clients
            need none.

    Raises:
        UsageError: a file is missing or invalid.
    """
    if certificate is None and key is None and client_ca is None:
        return None
    if certificate is None or key is None:
        raise UsageError("TLS needs both --tls-cert and --tls-key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(str(file) for file in (certificate, key, client_ca) if file)
        raise UsageError(f"no TLS with {files}: {error.strerror or error}") from error
    return context


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UsageError(f"cannot listen on {host!r}: {error.strerror}") from error
    family, _, _, _, address = addresses[0]
    return family, address
