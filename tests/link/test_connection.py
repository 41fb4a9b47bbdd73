"""A server that takes no more of a request has said why, though the connection broke meanwhile."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from claude_mpm.link.connection import ServerAddress, ServerConnection
from claude_mpm.link.far import FarFailed, LinkCut
from claude_mpm.wire.remote import PROTOCOL, ErrorMessage, InputMessage, OutputMessage, encode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claude_mpm.wire.remote import RemoteMessage

SECONDS = 60.0


def refuse(listener: socket.socket, last: RemoteMessage | None) -> None:
    """Admit one client, read the beginning of its request, and close without reading the rest."""
    client, _ = listener.accept()
    with client, client.makefile("rb") as lines:
        lines.readline()
        client.sendall(encode(OutputMessage(protocol=PROTOCOL)))
        client.recv(1)
        if last is not None:
            client.sendall(encode(last))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.parametrize(
    ("last", "error", "said"),
    [
        (ErrorMessage(error="it is too long"), FarFailed, "it is too long"),
        (ErrorMessage(error="no memory", again=True), LinkCut, "no memory"),
        (None, LinkCut, "reset by peer|Broken pipe"),
    ],
)
def test_why_a_request_was_refused_in_the_middle_is_told(
    listener: socket.socket, last: RemoteMessage | None, error: type[Exception], said: str
) -> None:
    server = threading.Thread(target=refuse, args=(listener, last), daemon=True)
    server.start()
    address = ServerAddress(address=f"127.0.0.1:{listener.getsockname()[1]}", tls=False)
    connection = ServerConnection(address, "one")
    try:
        with pytest.raises(error, match=said):
            connection.ask(InputMessage(do="put", name="1"), b"x" * (32 << 20))
    finally:
        connection.close()
        server.join(SECONDS)
