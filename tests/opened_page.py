"""The page as its users run it, in a process of its own, and sessions for it to show."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import pytest

from claude_mpm.journal.layout import Meta, Start
from claude_mpm.sessions.store import Store
from command import PROGRAM, SECONDS, Command

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from claude_mpm.journal.layout import SessionFolder

Event = dict[str, Any]
HEADER = "X-Claude-MPM"


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class OpenedPage:
    """Runs `claude-mpm web`, again and again on the same port.

    Args:
        environ: the server's environment, and so that of the Claudes that it starts.
        state: the state folder.
    """

    def __init__(self, environ: Mapping[str, str], state: Path) -> None:
        self.state = state
        self.environ = {**environ, "CLAUDE_MPM_STATE_DIR": str(state)}
        self.url = self.link = ""
        self.log = ""
        self._process: subprocess.Popen[str] | None = None
        self._log_reader: threading.Thread | None = None
        # Bound, and never listening: nobody else is given its port between two servers.
        self._port = socket.socket()
        self._port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._port.bind(("127.0.0.1", 0))

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def host(self) -> str:
        return self.url.partition("//")[2]

    def command(self, *words: str, status: int = 0) -> str:
        """Run `claude-mpm web …` to its end, and return what it says."""
        done = subprocess.run(
            [PROGRAM, "web", *words],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stdout.strip() if status == 0 else done.stderr.strip()

    def token(self, name: str = "me", *words: str) -> str:
        return self.command("token", "add", name, *words)

    def start(self, *words: str) -> str:
        """Start it, always on the same port, and return its address."""
        self._process = subprocess.Popen(
            [PROGRAM, "web", "--port", str(self._port.getsockname()[1]), *words],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found = re.match(r"the page is at (https?://\S+:\d+);", line)
        if found is None:
            raise AssertionError(self._process.communicate(timeout=SECONDS))
        self.url = found[1]
        self.link = self._process.stdout.readline().strip()
        reader = threading.Thread(target=self._keep_log, args=(self._process,), daemon=True)
        reader.start()
        self._log_reader = reader
        return self.url

    def restart(self) -> None:
        """End it, and start it on the port that it had."""
        self.stop()
        self.start()

    def stop(self, signum: int = signal.SIGINT) -> int:
        assert self._process is not None
        process, self._process = self._process, None
        process.send_signal(signum)
        status = process.wait(SECONDS)
        assert process.stdout is not None and self._log_reader is not None
        process.stdout.close()
        self._log_reader.join(SECONDS)
        assert not self._log_reader.is_alive(), "what it started holds its standard error"
        return status

    def close(self) -> None:
        if self._process is not None:
            self.stop()
        self._port.close()

    def call(
        self, method: str, path: str, token: str = "", body: object = None, **headers: str
    ) -> Reply:
        """Send one request, with the headers of a program that means well unless others are given.

        Args:
            body: what is sent as JSON; bytes as they are; None for nothing.
            headers: with `_` for `-`; an empty one is left out.
        """
        given = {"Host": self.host}
        if token:
            given["Authorization"] = f"Bearer {token}"
        if method != "GET":
            given[HEADER] = "1"
        if body is not None:
            given["Content-Type"] = "application/json"
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        host, _, port = self.host.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=SECONDS)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in given.items():
                if value:
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(data or b"")))
            # A server that has refused what came reads no more of it.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.endheaders(data)
            answer = connection.getresponse()
            return Reply(answer.status, dict(answer.headers.items()), answer.read())
        finally:
            connection.close()

    def enter(self, link: str = "") -> dict[str, str]:
        """Exchange a link as a browser does; return the headers that it sends from then on."""
        code = (link or self.link).rpartition("#")[2]
        reply = self.call("POST", "/api/login", body={"code": code}, Origin=self.url)
        assert reply.status == 200, reply
        cookie = reply.headers["set-cookie"].partition(";")[0]
        return {"Cookie": cookie, HEADER: reply.json["key"], "Origin": self.url}

    def stream(self, path: str, token: str, **headers: str) -> EventStream:
        return EventStream(self, path, token, headers)

    def _keep_log(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr as log:
            for line in log:
                self.log += line


class EventStream:
    """Server-sent events, read as they come; a context manager."""

    def __init__(self, page: OpenedPage, path: str, token: str, headers: Mapping[str, str]) -> None:
        host, _, port = page.host.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), SECONDS)
        lines = [f"GET {path} HTTP/1.1", f"Host: {page.host}", f"Authorization: Bearer {token}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self._file = self.socket.makefile("rb")
        status = self._file.readline()
        assert b" 200 " in status, status
        while self._file.readline().strip():
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()

    def messages(self) -> Iterator[tuple[str, str, Any]]:
        """Yield the id, the event and the data of each message."""
        fields: dict[str, str] = {}
        for line in self._lines():
            name, _, value = line.partition(":")
            if line:
                fields[name] = value.removeprefix(" ")
            elif "data" in fields:
                yield fields.get("id", ""), fields.get("event", ""), json.loads(fields["data"])
                fields = {}

    def _lines(self) -> Iterator[str]:
        rest = b""
        while size := int(self._file.readline() or b"0", 16):
            *lines, rest = (rest + self._file.read(size)).split(b"\n")
            self._file.readline()
            yield from (line.decode() for line in lines)


def record(
    state: Path, name: str, *events: Event, ended: bool = True, **meta: Any
) -> SessionFolder:
    """Write a session by hand and return its folder.

    Args:
        ended: whether Claude has ended, with status 0; else it looks as if it were starting.
    """
    store = Store(state)
    folder = store.folder(name)
    folder.create()
    known = {
        "orchestrator": "local",
        "environment": "local",
        "wire": "stream-json",
        "cwd": "/project",
        "created_at": time.time(),
        "starts": [Start(at=0, offset=0)],
    }
    folder.write_meta(Meta(session_id=name, claude_session_id="c", **{**known, **meta}))
    folder.inbox.mkdir(exist_ok=True)
    write(folder, *events)
    if ended:
        folder.exit_file.write(b"0\n")
    store.close()
    return folder


def write(folder: SessionFolder, *events: Event) -> None:
    """Append events to a session's journal."""
    lines = b"".join(json.dumps(event).encode() + b"\n" for event in events)
    with folder.journal.path.open("ab") as journal:
        journal.write(lines)


def said(text: str, **more: Any) -> Event:
    """Return the event of a text that Claude says."""
    content = [{"type": "text", "text": text}]
    message = {"id": "m1", "role": "assistant", "content": content}
    return {"type": "assistant", "message": message, "session_id": "c", **more}


def result(uuid: str = "u1", **more: Any) -> Event:
    """Return the event of a turn's end."""
    return {
        "type": "result", "subtype": "success", "is_error": False, "total_cost_usd": 0.25,
        "terminal_reason": "completed", "user_message_uuids": [uuid], "num_turns": 1,
        "duration_ms": 1000, "usage": {}, **more,
    }  # fmt: skip


@pytest.fixture
def page(command: Command) -> Iterator[OpenedPage]:
    """A page over the state folder of `command`; the test starts it, and no session outlives it."""
    page = OpenedPage(command.environ, command.state)
    yield page
    if command.state.is_dir():
        command("stop", "--all", status=None)
    page.close()
