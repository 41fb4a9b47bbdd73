"""SIGTERM and Ctrl-C end a server that has clients in order; what it started goes on."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from claude_mpm.journal.layout import SessionFolder
from command import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 60.0
TOKEN = "a-long-token-of-its-own"
ENDS = {signal.SIGINT: (130, "\nclaude-mpm: interrupted\n"),
        signal.SIGTERM: (143, "claude-mpm: ended by signal 15\n")}  # fmt: skip
CLIENT = {"clientInfo": {"name": "test", "version": "1"}, "capabilities": {}}
HELLO = {"protocolVersion": "2025-06-18", **CLIENT}
# A server whose calls may take so long that a test would not see their end.
PATIENT = "from claude_mpm.cli import main, mcp_tools; mcp_tools.LONGEST_CALL = 3600.0; main.main()"


@pytest.fixture
def state(tmp_path: Path, fast: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The state folder of all commands, whose Claude is a stand-in that works on and on."""
    state = tmp_path / "state"
    monkeypatch.setenv("CLAUDE_MPM_STATE_DIR", str(state))
    yield state
    subprocess.run([PROGRAM, "stop", "--all"], capture_output=True, timeout=SECONDS, check=True)


@contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[str]]:
    """Start a server; one that a test has not ended is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", PATIENT, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def say(process: subprocess.Popen[str], method: str, number: int, **params: Any) -> None:
    """Send a request; a notification where it has no number."""
    message = {"jsonrpc": "2.0", "method": method, "params": params}
    assert process.stdin is not None
    process.stdin.write(json.dumps(message | ({"id": number} if number else {})) + "\n")
    process.stdin.flush()


def heard(process: subprocess.Popen[str], number: int) -> Any:
    """Return the result of a request."""
    assert process.stdout is not None
    for line in process.stdout:
        message = json.loads(line)
        if message.get("id") == number and "method" not in message:
            return message["result"]
    raise AssertionError(f"no answer to {number}")


def ended(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal; the server ends by it, says so in one line, and nothing else."""
    process.send_signal(number)
    status = process.wait(SECONDS)  # its input is open still
    assert process.stderr is not None
    assert (status, process.stderr.read()) == ENDS[number]


def runs(state: Path) -> bool:
    """Return whether the one session is at work."""
    (path,) = (state / "sessions").iterdir()
    return SessionFolder(path).has_host()


@pytest.mark.parametrize("number", ENDS, ids=str)
def test_an_mcp_server_on_its_streams(state: Path, number: signal.Signals) -> None:
    with started("mcp") as process:
        say(process, "initialize", 1, **HELLO)
        heard(process, 1)
        say(process, "notifications/initialized", 0)
        say(process, "tools/call", 2, name="start", arguments={"prompt": "stream"})
        session = json.loads(heard(process, 2)["content"][0]["text"])["session"]
        waits = {"session": session, "seconds": 3600}
        say(process, "tools/call", 3, name="wait", arguments=waits)
        say(process, "tools/call", 4, name="list", arguments={})
        heard(process, 4)
        ended(process, number)
    assert runs(state)


@pytest.mark.parametrize("number", ENDS, ids=str)
def test_an_agent_of_an_editor(state: Path, number: signal.Signals) -> None:
    with started("acp") as process:
        say(process, "initialize", 1, protocolVersion=1, clientCapabilities={})
        heard(process, 1)
        say(process, "session/new", 2, cwd=str(Path.cwd()), mcpServers=[])
        session = heard(process, 2)["sessionId"]
        prompt = [{"type": "text", "text": "stream"}]
        say(process, "session/prompt", 3, sessionId=session, prompt=prompt)
        assert process.stdout is not None
        assert any("agent_message_chunk" in line for line in process.stdout)
        ended(process, number)
    assert runs(state)


class HttpClient:
    """A client of the MCP server over HTTP, with a connection for each request.

    Args:
        address: of the server.
        until: has the connections closed.
    """

    def __init__(self, address: str, until: ExitStack) -> None:
        self._address = urlsplit(address)
        self._until = until
        self._headers = {
            "Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
        }  # fmt: skip

    def send(self, http_method: str, message: dict[str, Any] | None) -> http.client.HTTPResponse:
        """Send a request; what is answered comes as events."""
        host, port = self._address.hostname, self._address.port
        connection = http.client.HTTPConnection(host or "", port, timeout=SECONDS)
        self._until.callback(connection.close)
        body = None if message is None else json.dumps({"jsonrpc": "2.0", **message})
        connection.request(http_method, self._address.path, body, self._headers)
        answer = self._until.enter_context(closing(connection.getresponse()))
        if session := answer.headers.get("Mcp-Session-Id"):
            self._headers["Mcp-Session-Id"] = session
        return answer

    def ask(self, number: int, method: str, **params: Any) -> Any:
        """Send a request and return its result."""
        message = {"id": number, "method": method, "params": params}
        for line in self.send("POST", message):
            if line.startswith(b"data: {"):
                return json.loads(line[6:])["result"]
        raise AssertionError(f"no answer to {method}")


@pytest.mark.parametrize("number", ENDS, ids=str)
def test_an_mcp_server_over_http(state: Path, tmp_path: Path, number: signal.Signals) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    with (
        started("mcp", "--http", "0", "--token-file", str(token)) as process,
        ExitStack() as connections,
    ):
        assert process.stderr is not None
        client = HttpClient(process.stderr.readline().strip(), connections)
        client.ask(1, "initialize", **HELLO)
        client.send("POST", {"method": "notifications/initialized"})
        found = client.ask(2, "tools/call", name="start", arguments={"prompt": "stream"})
        session = json.loads(found["content"][0]["text"])["session"]
        client.send("GET", None)
        waits = {"name": "wait", "arguments": {"session": session, "seconds": 3600}}
        client.send("POST", {"id": 3, "method": "tools/call", "params": waits})
        client.ask(4, "tools/call", name="list", arguments={})
        ended(process, number)
    assert runs(state)
