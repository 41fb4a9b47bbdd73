"""The guide's own client for a remote Claude, unchanged, against a server of ours."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claude_mpm import MPMOrchestrator
from claude_mpm.journal.layout import SessionFolder
from claude_mpm.testing import Fail
from claude_mpm.testing.subject import until
from command import SECONDS, said_in
from served import Served, heard, raw

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from claude_mpm.testing import ScriptedModel

GUIDE = Path(__file__).parents[2] / "guide" / "custom-orchestrators.md"
[CODE] = re.findall(
    r"^class RemoteOrchestrator\(.*?(?=```)", GUIDE.read_text("utf-8"), re.DOTALL | re.MULTILINE
)
# What stands at the top of the guide's file.
NAMES = {
    "MPMOrchestrator": MPMOrchestrator,
    "datetime": datetime,
    "json": json,
    "socket": socket,
    "threading": threading,
}


@contextmanager
def guides_client(address: str, **options: Any) -> Iterator[Any]:
    names: dict[str, Any] = dict(NAMES)
    exec(CODE, names)
    host, _, port = address.rpartition(":")
    client = names["RemoteOrchestrator"](host, int(port), **options)
    assert client.start()
    try:
        yield client
    finally:
        client.stop()


def test_the_guides_client_holds_a_conversation(served: Served, model: ScriptedModel) -> None:
    served.start("--anonymous")
    model.on("first", "Zwei Zeilen,\n  die zweite mit ümläuten → 🎉.")
    model.on("second", lambda request: f"It knows: {'first' in request.text}.")
    with guides_client(served.address) as client:
        client.send_input("first")
        assert [client.get_output(SECONDS) for _ in range(2)] == [
            "Zwei Zeilen,",
            "  die zweite mit ümläuten → 🎉.",
        ]
        client.send_input("second — “ünïcödé”")
        assert client.get_output(SECONDS) == "It knows: True."
    assert model.requests[-1].prompt == "second — “ünïcödé”"
    assert client.framework_loader.get_framework_instructions() in model.requests[-1].system
    (folder,) = map(SessionFolder, served.sessions())
    assert '"opus"' in folder.meta_file.read_text()
    until(lambda: folder.exit_status() is not None, "the session did not end")
    assert folder.exit_status() == 0
    assert said_in(folder).endswith("It knows: True.\n")


def test_a_character_is_never_cut_for_a_client_that_decodes_what_came_so_far(
    served: Served, model: ScriptedModel
) -> None:
    served.start("--anonymous")
    model.on("much", "\n".join("→🎉ü" * 300 for _ in range(20)))
    with raw(served.address) as client:
        client.sendall(b'{"type":"init"}\n{"type":"input","text":"much"}\n')
        received = b""
        while received.count(b"\n") < 20:
            received += client.recv(4096)
        client.sendall(b'{"type":"terminate"}\n')
    assert received.isascii()
    assert {json.loads(line)["text"] for line in received.splitlines()} == {"→🎉ü" * 300}


def test_errors_reach_the_guides_client_as_errors(
    served: Served, model: ScriptedModel, caplog: pytest.LogCaptureFixture
) -> None:
    served.start("--anonymous")
    model.on("broken", Fail(400))
    with guides_client(served.address, log_level="ERROR") as client:
        client.logger.propagate = True
        client.send_input("   ")
        client.send_input("broken")
        until(lambda: "API Error" in caplog.text, "the error did not arrive")
        assert "Remote error: the prompt is empty" in caplog.text
        client.send_input("and now?")
        assert client.get_output(SECONDS) == "Claude heard: and now?"


def test_a_session_of_a_client_that_is_gone_ends_by_the_linger_rule(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    served._environ["CLAUDE_MPM_LINGER"] = "0.2"
    served.start("--anonymous")
    with raw(served.address) as client:
        client.sendall(b'{"type":"init"}\n{"type":"input","text":"hello"}\n')
        received = b""
        while b"Claude heard: hello" not in received:
            data = client.recv(4096)
            assert data, received
            received += data
    (folder,) = map(SessionFolder, served.sessions())
    until(lambda: folder.exit_status() is not None, "the session goes on")


def test_a_start_that_fails_is_told(served: Served) -> None:
    served._environ["CLAUDE_PATH"] = "/no/such/claude"
    served.start("--anonymous")
    with raw(served.address) as client:
        client.sendall(b'{"type":"init"}\n')
        (message,) = heard(client)
    assert message["type"] == "error"
    assert "/no/such/claude" in message["error"]


def test_no_framework_is_no_framework(served: Served, model: ScriptedModel) -> None:
    served.start("--anonymous")
    with raw(served.address) as client:
        client.sendall(b'{"type":"init","framework":""}\n{"type":"input","text":"hello"}\n')
        with suppress(TimeoutError):
            client.recv(4096)
    (folder,) = map(SessionFolder, served.sessions())
    assert not folder.framework.exists()
    assert os.listdir(folder.inbox)
