"""A server as its users run it, in a process of its own, and clients that talk to it by hand."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.environments.remote import Remote
from claude_mpm.link.connection import ServerAddress, ServerConnection
from claude_mpm.orchestration.orchestrator import MPMOrchestrator
from command import PROGRAM, SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from claude_mpm.testing import ScriptedModel

Message = dict[str, Any]


class Served:
    """Runs `claude-mpm serve`, again and again on the same port.

    Args:
        environ: the server's environment, and so that of its Claudes.
        state: its state folder.
    """

    def __init__(self, environ: Mapping[str, str], state: Path) -> None:
        self.state = state
        self._environ = {**environ, "CLAUDE_MPM_STATE_DIR": str(state)}
        self._process: subprocess.Popen[str] | None = None
        self._words: tuple[str, ...] = ()
        self._log: list[str] = []
        self._logging: threading.Thread | None = None
        self._port: socket.socket | None = None  # keeps it for us between a stop and a restart
        self._made: list[MPMOrchestrator] = []
        self.address = ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def log(self) -> str:
        return "".join(self._log)

    def __call__(self, *words: str, status: int = 0) -> str:
        """Run `claude-mpm serve` to its end, and return what it says."""
        done = subprocess.run(
            [PROGRAM, "serve", *words],
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stdout.strip() if status == 0 else done.stderr.strip()

    def token(self, name: str = "me", *words: str) -> str:
        return self("token", "add", name, *words)

    def start(self, *words: str) -> str:
        """Start the server, and return its address."""
        self._words = words
        self._process = subprocess.Popen(
            [PROGRAM, "serve", *words],
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._logging = threading.Thread(target=self._keep_log, args=(self._process,), daemon=True)
        self._logging.start()
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found = re.fullmatch(r"listening on (.+:\d+)\n", line)
        assert found, f"{line!r}\n{self.log}"
        self.address = found[1]
        self._give_port_back()
        return self.address

    def stop(self, signum: int = signal.SIGTERM) -> int:
        """Stop the server, and return its exit status; its log is whole then."""
        assert self._process is not None
        self._process.send_signal(signum)
        status = self._process.wait(SECONDS)
        self._keep_port()
        assert self._process.stdout is not None
        assert self._logging is not None
        self._process.stdout.close()
        self._logging.join(SECONDS)
        self._process = None
        return status

    def restart(self) -> None:
        """Start it on the port that it had."""
        self.start("--port", str(self.port), *self._words)

    def close(self) -> None:
        for claude in self._made:
            claude.stop()
        if self._process is not None:
            self.stop()
        self._give_port_back()

    def _keep_port(self) -> None:
        """Take the port, without listening, before anybody else is given it as a free one."""
        host = self.address.rpartition(":")[0].strip("[]")
        self._port = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._port.bind((host, self.port))

    def _give_port_back(self) -> None:
        if self._port is not None:
            self._port.close()
            self._port = None

    def claude(self, address: str = "", **options: Any) -> MPMOrchestrator:
        """Return an orchestrator whose place is the server."""
        settings = {name: options.pop(name) for name in list(options) if name in _OF_THE_PLACE}
        place = Remote(address or self.address, **{"tls": False, **settings})
        claude = MPMOrchestrator(environment=place, **options)
        self._made.append(claude)
        return claude

    def program(self, script: str, address: str = "", **options: Any) -> MPMOrchestrator:
        """Return one that runs a shell script in Claude's place."""
        return self.claude(
            address,
            **{
                "wire": "plain-text",
                "claude_path": "/bin/sh",
                "claude_args": ["-c", script],
                "use_framework": False,
                **options,
            },
        )

    def connect(self, session: str, token: str = "", follow: int | None = None) -> ServerConnection:
        """Return a connection of our own client."""
        server = ServerAddress(address=self.address, token=token, tls=False)
        return ServerConnection(server, session, follow)

    def sessions(self) -> list[Path]:
        return sorted((self.state / "sessions").glob("*"))

    def _keep_log(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr as log:
            self._log.extend(log)


@pytest.fixture
def served(
    model: ScriptedModel, tmp_path: Path, claude_path: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Served]:
    """A server whose Claudes talk to the scripted model; the test starts it."""
    monkeypatch.setenv("CLAUDE_MPM_STATE_DIR", str(tmp_path / "near"))
    environ = model.environment(
        tmp_path / "far-home", PATH=os.environ["PATH"], CLAUDE_PATH=claude_path
    )
    served = Served(environ, tmp_path / "far")
    yield served
    served.close()


_OF_THE_PLACE = ("token", "token_file", "tls", "ca", "client_cert", "client_key", "server_name")


def raw(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), SECONDS)


def say(address: str, data: bytes | Message) -> list[Message]:
    """Say something, and return all that is answered until the server ends the connection."""
    line = data if isinstance(data, bytes) else json.dumps(data).encode() + b"\n"
    with raw(address) as client:
        with suppress(ConnectionError):  # it may have heard enough before we have said all
            client.sendall(line)
        return heard(client)


def heard(client: socket.socket) -> list[Message]:
    """Return all that comes until the server ends the connection."""
    received = b""
    with suppress(ConnectionError):
        while data := client.recv(1 << 16):
            received += data
    return [json.loads(line) for line in received.splitlines()]


def reason(messages: list[Message]) -> str:
    """Return why the server has refused us: the only thing that it says then."""
    (message,) = messages
    assert message["type"] == "error", message
    return str(message["error"])


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))
