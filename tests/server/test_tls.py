"""TLS: who is who is proved by both sides, or nothing is said."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.errors import LaunchError
from claude_mpm.link.connection import ServerAddress, ServerConnection
from claude_mpm.link.far import FarFailed, LinkCut
from claude_mpm.wire.remote import ErrorMessage, encode
from command import SECONDS
from served import raw, reason, say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from certificates import Certificates
    from claude_mpm.testing import ScriptedModel
    from served import Served


def tls(certificates: Certificates) -> tuple[str, ...]:
    return ("--tls-cert", certificates.server, "--tls-key", certificates.server_key)


def refusal(served: Served, **settings: str | bool) -> str:
    """Return why a connection cannot be had."""
    with pytest.raises((FarFailed, LinkCut)) as refused:
        ServerConnection(ServerAddress(address=served.address, **settings), "mine")  # type: ignore[arg-type]
    assert refused.type is FarFailed, f"it would be tried again for ever: {refused.value}"
    return str(refused.value)


def test_a_conversation_over_tls(
    served: Served, certificates: Certificates, model: ScriptedModel, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text(served.token() + "\n")
    served.start(*tls(certificates), "--client-ca", certificates.ca)
    claude = served.claude(
        token_file=str(token),
        tls=True,
        ca=certificates.ca,
        client_cert=certificates.client,
        client_key=certificates.client_key,
        environ=model.environment(tmp_path / "near-home"),
    )
    with claude:
        answer = "\n".join(f"Zeile {n} →" for n in range(20_000))
        model.on("much", answer)
        assert claude.ask("much").check().text == answer
        assert claude.ask("and now?").check().text == "Claude heard: and now?"


def test_a_server_that_is_not_who_it_says_hears_no_token(
    served: Served, certificates: Certificates
) -> None:
    served.start(*tls(certificates))
    assert "not who it says" in refusal(served, token="mpm_secret")
    assert "not who it says" in refusal(served, ca=certificates.other_ca)
    assert "not who it says" in refusal(served, ca=certificates.ca, server_name="else.where")
    with pytest.raises(LaunchError, match="not who it says"):
        served.program("cat", tls=True).start_or_raise()


def test_a_client_without_the_right_certificate_is_refused(
    served: Served, certificates: Certificates
) -> None:
    token = served.token()
    served.start(*tls(certificates), "--client-ca", certificates.ca)
    ours = {"ca": certificates.ca, "token": token}
    foreign = {"client_cert": certificates.foreign, "client_key": certificates.foreign_key}
    assert "refused our certificate" in refusal(served, **ours)
    assert "refused our certificate" in refusal(served, **ours, **foreign)
    good = {"client_cert": certificates.client, "client_key": certificates.client_key}
    accepted: dict[str, Any] = {**ours, **good}
    ServerConnection(ServerAddress(address=served.address, **accepted), "mine").close()
    assert token not in served.log


def test_who_speaks_no_tls_is_told_so(served: Served, certificates: Certificates) -> None:
    served.start(*tls(certificates))
    assert "speaks TLS" in reason(say(served.address, {"type": "init"}))
    assert "speaks TLS" in refusal(served, tls=False)
    assert say(served.address, b"GET / HTTP/1.1\r\n\r\n")[1:] == []


def test_who_speaks_tls_to_a_server_that_does_not_is_told_so(
    served: Served, certificates: Certificates
) -> None:
    served.start()
    assert "does not speak TLS" in refusal(served, ca=certificates.ca)


def test_without_tls_nothing_is_said_to_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr(socket.socket, "getpeername", lambda _: ("192.0.2.1", 1))
        server = ServerAddress(
            address=f"127.0.0.1:{listener.getsockname()[1]}", token="x", tls=False
        )
        with pytest.raises(FarFailed, match="another machine"):
            ServerConnection(server, "mine")


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerAddress]:
    """A server that refuses its only client, and resets the connection, before that speaks."""
    start_tls, connected = ServerConnection._start_tls, threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            client, _ = listener.accept()
            assert connected.wait(SECONDS)
            client.sendall(encode(ErrorMessage(error="not you")))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()

        server = threading.Thread(target=refuse)
        server.start()

        def start_late(connection: ServerConnection) -> None:
            connected.set()
            server.join()
            start_tls(connection)

        monkeypatch.setattr(ServerConnection, "_start_tls", start_late)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        yield ServerAddress(address=address, token="x", tls=False)
        server.join()


def test_a_refusal_is_heard_though_nothing_can_be_said_any_more(
    refusing: ServerAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket.socket, "getpeername", lambda _: ("127.0.0.1", 1))
    with pytest.raises(FarFailed, match="not you"):
        ServerConnection(refusing, "mine")


def test_a_connection_that_ends_before_it_is_known_with_whom_is_a_cut_one(
    refusing: ServerAddress,
) -> None:
    with pytest.raises(LinkCut, match="not connected"):
        ServerConnection(refusing, "mine")


def test_old_versions_of_tls_are_refused(served: Served, certificates: Certificates) -> None:
    served.start(*tls(certificates))
    context = ssl.create_default_context(cafile=certificates.ca)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with raw(served.address) as sock, context.wrap_socket(sock, server_hostname="localhost") as old:
        assert old.version() == "TLSv1.2"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--host", "0.0.0.0"], "without TLS"),
        (["--host", "::"], "without TLS"),
        (["--tls-key", "key"], "both --tls-cert and --tls-key"),
        (["--tls-cert", "no", "--tls-key", "no"], "no TLS with no, no: No such file"),
        (["--host", "no.such.host.invalid"], "cannot listen on"),
    ],
)
def test_a_server_that_would_be_open_does_not_start(
    served: Served, words: list[str], why: str
) -> None:
    assert why in served(*words, status=2)


def test_anonymous_off_this_machine_is_refused(served: Served, certificates: Certificates) -> None:
    complaint = served("--host", "0.0.0.0", "--anonymous", *tls(certificates), status=2)
    assert "--anonymous would let anyone" in complaint
