"""What those say who mean no good: they are told why not, and nobody else hears of it."""

from __future__ import annotations

import json
import resource
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import msgspec
import pytest

from claude_mpm.link.connection import ServerAddress, ServerConnection
from claude_mpm.link.far import FarFailed
from claude_mpm.server.admission import MAX_PENDING
from claude_mpm.testing.processes import resident_memory
from claude_mpm.wire.remote import CHUNK, InputMessage
from served import descriptors, heard, raw, reason, say

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from certificates import Certificates
    from served import Message, Served

GIGABYTE = 1 << 30
FLAT = 30 << 20  # what a server may grow by, whatever it is told, in bytes
HALF_OPEN = 10_000
NO_FIRST_MESSAGES = (
    (b"\x00\xff\xfe garbage \x80\n", "not JSON"),
    (b"GET / HTTP/1.1\r\n\r\n", "not JSON"),
    (b'{"type":"init","token":"\xff"}\n', "not UTF-8"),
    (b'{"type":"init","token":"\\ud800"}\n', "not JSON"),
    (b"[]\n", "wrong shape"),
    (b"{}\n", "wrong shape"),
    (b'{"type":"no such"}\n', "wrong shape"),
    (b'{"type":"init","token":5}\n', "wrong shape"),
    (b'{"type":"init","follow":-1}\n', "wrong shape"),
    (b'{"type":"init","x":' + b"[" * 60_000 + b"\n", "not JSON"),
    (b'{"type":"input","text":"hello"}\n', "must be `init`"),
    (b'{"type":"terminate"}\n', "must be `init`"),
    (b'{"type":"init"}\n', "a token is needed"),
    (b'{"type":"init","protocol":1,"session":"x"}\n', "a token is needed"),
    (b'{"type":"init","token":"mpm_00000000_wrong"}\n', "the token is wrong"),
    (b'{"type":"init","token":"' + b"x" * 100_000 + b'"}\n', "longer than"),
    (b"\n", "not JSON"),
)
PATHS = (
    "../x",
    "/etc",
    "a/b",
    "..",
    ".hidden",
    "",
    "x" * 200,
    "a\nb",
    "a\0b",
    "ü",
    "%2e%2e",
    "$HOME",
)


@pytest.fixture
def serves(served: Served) -> Callable[[], None]:
    """Tells that a server serves, with as little memory as before."""
    token = served.token()
    served.start()

    def conversation() -> None:
        claude = served.program("cat", token=token)
        with claude:
            claude.send_input("hello")
            assert claude.get_output(60) == "hello"

    conversation()
    before = resident_memory(served.pid)

    def check() -> None:
        conversation()
        growth = resident_memory(served.pid) - before
        assert growth < FLAT, f"it has grown by {growth} bytes"
        assert "Traceback" not in served.log

    return check


def test_what_is_no_first_message_is_refused(served: Served, serves: Callable[[], None]) -> None:
    for said, why in NO_FIRST_MESSAGES:
        assert why in reason(say(served.address, said)), said[:80]
    serves()


def test_a_path_as_session_id_is_refused(served: Served) -> None:
    token = served.token()
    served.start()
    for session in PATHS:
        init = {"type": "init", "protocol": 1, "token": token, "session": session}
        assert "cannot be a folder's name" in reason(say(served.address, init)), session
    assert served.sessions() == []


def test_a_wrong_token_tells_nothing_of_the_right_one(served: Served) -> None:
    token = served.token()
    served.start()
    for wrong in (token[:-1], token + "0", token.upper(), f"{token[:13]}{'0' * 64}", "anonymous"):
        init: Message = {"type": "init", "token": wrong}
        assert reason(say(served.address, init)) == "the token is wrong, or was revoked"
    assert token not in served.log


def test_a_gigabyte_is_refused_before_anybody_keeps_it(
    served: Served, serves: Callable[[], None]
) -> None:
    for beginning in (b"", b'{"type":"init","token":"'):
        with raw(served.address) as client:
            sent = 0
            with suppress(ConnectionError):
                client.sendall(beginning)
                while sent < GIGABYTE:
                    client.sendall(b"x" * CHUNK)
                    sent += CHUNK
            assert "longer than" in reason(heard(client))
    serves()


def test_a_gigabyte_from_somebody_with_a_token_is_refused_as_well(
    served: Served, serves: Callable[[], None]
) -> None:
    token = served.token("other")
    connection = served.connect("mine", token)
    for question in (InputMessage(do="start", id=1), InputMessage(do="put", id=2, name="000001")):
        connection.send(msgspec.structs.replace(question, size=GIGABYTE))
        with pytest.raises(FarFailed, match=f"a message of {GIGABYTE} bytes is longer"):
            connection.receive()
    with pytest.raises(FarFailed, match="no such session"):
        connection.send(InputMessage(do="put", id=3, name="000001", size=1, data=b"x"))
        connection.receive()
    connection.close()
    with raw(served.address) as client:
        init = {"type": "init", "protocol": 1, "session": "mine", "token": token}
        client.sendall(json.dumps(init).encode() + b"\n")
        with suppress(ConnectionError):
            for _ in range(GIGABYTE // CHUNK):
                client.sendall(b" " * CHUNK)
        ready, refused = heard(client)
        assert ready["protocol"] == 1
        assert "longer than 16777216 bytes" in refused["error"]
    serves()


def half_open(served: Served, said: bytes) -> int:
    """Open many connections that say no more than this; return how many the server held at most."""
    limit: int = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    at_once = min(HALF_OPEN, limit - 500)
    most = 0
    with ExitStack() as clients:
        held: list[socket.socket] = []
        for number in range(HALF_OPEN):
            if len(held) == at_once:
                held.pop(0).close()
            client = clients.enter_context(raw(served.address))
            with suppress(ConnectionError):
                client.sendall(said)
            held.append(client)
            if number % 500 == 0:
                most = max(most, descriptors(served.pid))
        most = max(most, descriptors(served.pid))
    return most


@pytest.mark.parametrize("said", [b"", b'{"type":"init","token":"' + b"x" * 2000], ids=["", "half"])
def test_ten_thousand_half_open_connections_take_nothing_from_the_others(
    served: Served, serves: Callable[[], None], said: bytes
) -> None:
    before = descriptors(served.pid)
    assert half_open(served, said) - before < 2 * MAX_PENDING
    serves()


def test_ten_thousand_half_open_connections_to_a_tls_server(
    served: Served, certificates: Certificates
) -> None:
    token = served.token()
    served.start("--tls-cert", certificates.server, "--tls-key", certificates.server_key)
    ours = ServerAddress(address=served.address, ca=certificates.ca, token=token)
    ServerConnection(ours, "mine").close()
    memory, before = resident_memory(served.pid), descriptors(served.pid)
    # The beginning of a handshake: a record of 512 bytes, of which the first few come.
    assert half_open(served, b"\x16\x03\x01\x02\x00\x01\x00") - before < 2 * MAX_PENDING
    ServerConnection(ours, "mine").close()
    assert resident_memory(served.pid) - memory < FLAT


def test_clients_that_do_not_read_or_say_nothing_cost_nobody_anything(
    served: Served, serves: Callable[[], None]
) -> None:
    token = served.token("other", "--sessions", "1")
    long = "dd if=/dev/zero bs=1048576 count=64 2>/dev/null | tr '\\0' x | fold -w 100; cat"
    claude = served.program(long, token=token)
    claude.start_or_raise()
    (folder,) = (path for path in served.sessions() if path.name.endswith(token.split("_")[1]))
    session = folder.name.rpartition(".")[0]
    with raw(served.address) as silent, ExitStack() as clients:
        for _ in range(8):
            deaf = served.connect(session, token, follow=0)
            clients.callback(deaf.close)
        assert sum(len(claude.get_output(60) or "") for _ in range(10_000)) == 1_000_000
        serves()
        assert "no first message for 10 seconds" in reason(heard(silent))
