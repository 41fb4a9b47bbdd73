"""The HTTP side of the scripted model: connections on 127.0.0.1 that can stand still and break."""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import socketserver
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from claude_mpm.testing.request import Request
from claude_mpm.testing.script import Cut, Fail, Stall
from claude_mpm.testing.sse import Frame, Pause, Reply, error_body, frames, message_body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_LAST_CHUNK = b"0\r\n\r\n"


class WakePipe:
    """An event that a selector can wait for together with a connection; once set, it stays set."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()

    def fileno(self) -> int:
        """Return what a selector waits for."""
        return self._reader.fileno()

    def set(self) -> None:
        """Wake the waiting thread; from any thread."""
        self._writer.send(b"!")

    def close(self) -> None:
        """Close both ends."""
        self._reader.close()
        self._writer.close()


class Stalls:
    """The streams that are stalled now."""

    def __init__(self) -> None:
        self._wake_pipes: set[WakePipe] = set()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def one(self) -> Iterator[WakePipe]:
        """Count a stall while it lasts; its wake pipe is set when it is released."""
        wake_pipe = WakePipe()
        with self._changed:
            self._wake_pipes.add(wake_pipe)
            self._changed.notify_all()
        try:
            yield wake_pipe
        finally:
            with self._changed:
                self._wake_pipes.discard(wake_pipe)
            wake_pipe.close()

    def release(self) -> None:
        """Let every stream that stands still go on."""
        with self._changed:
            for wake_pipe in self._wake_pipes:
                wake_pipe.set()
            self._wake_pipes.clear()

    def wait_for_one(self, timeout: float) -> bool:
        """Wait (seconds) until a stream has stalled; return whether one has."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._wake_pipes), timeout)


class LoopbackServer(ThreadingHTTPServer):
    """A server whose `stop()` leaves no thread and no socket, whatever its connections do."""

    daemon_threads = False
    request_queue_size = 128
    timeout = 0

    def __init__(self, answer: Callable[[Request], Fail | Reply | None], port: int = 0) -> None:
        self.answer = answer
        self.errors: list[BaseException] = []
        self.stalls = Stalls()
        self.stopping = WakePipe()
        self._connections: set[Any] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)
        self._thread = threading.Thread(target=self._serve, name="scripted-model")
        self._thread.start()

    def server_bind(self) -> None:
        """Bind without the look-up of a host name that the base class makes."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])

    def stop(self) -> None:
        """End every connection, also in the middle of a reply, and wait for every thread."""
        self.stopping.set()
        self._thread.join()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()
        self.stopping.close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Note the connection, so that `stop` can end it."""
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Remove a connection that has ended."""
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep what a function of the script raised, and end the turn: a 400 is not retried."""
        error = sys.exception()
        if error is not None:
            self.errors.append(error)
        body = error_body(Fail(400, message=f"The script of the model failed: {error!r}"))
        with contextlib.suppress(OSError):
            request.sendall(_head(400, {"content-length": str(len(body))}) + body)

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self.socket, selectors.EVENT_READ)
            selector.register(self.stopping, selectors.EVENT_READ)
            while self.stopping not in {key.fileobj for key, _ in selector.select()}:
                self.handle_request()


class _Handler(BaseHTTPRequestHandler):
    """One connection: requests in, replies out, kept alive between them."""

    server: LoopbackServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle(self) -> None:
        # A client that goes away, and a stop of the server, end a connection and nothing else.
        with contextlib.suppress(ConnectionError):
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are kept as values, not logged."""

    def do_HEAD(self) -> None:
        self._plain()

    def do_GET(self) -> None:
        self._plain()

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            body = json.loads(raw or b"{}")
        except ValueError:
            return self._send_error(Fail(400, message="The body is not JSON"))
        request = Request.received("POST", self.path, dict(self.headers), body)
        outcome = self.server.answer(request)
        if isinstance(outcome, Fail):
            self._send_error(outcome)
        elif isinstance(outcome, Reply):
            self._send_reply(outcome, request.stream)
        elif self.path.partition("?")[0].endswith("/count_tokens"):
            self._send(200, json.dumps({"input_tokens": 1 + len(raw) // 4}).encode())
        else:
            self._send_error(Fail(404))

    def _plain(self) -> None:
        self.server.answer(Request.received(self.command, self.path, dict(self.headers), {}))
        self._send(200, b"{}")

    def _send(self, status: int, body: bytes, **more: str) -> None:
        headers = {"content-type": "application/json", "content-length": str(len(body)), **more}
        head = _head(status, headers)
        self.wfile.write(head if self.command == "HEAD" else head + body)

    def _send_error(self, failure: Fail) -> None:
        wait = failure.retry_after
        more = {} if wait is None else {"retry-after": f"{wait:g}"}
        self._send(failure.status, error_body(failure), **more, **failure.headers)

    def _send_reply(self, reply: Reply, stream: bool) -> None:
        if stream:
            self._send_stream(frames(reply))
        else:
            self._send(200, message_body(reply))

    def _send_stream(self, events: Iterable[Frame]) -> None:
        """Send in one write what nothing interrupts, and in chunks what something does."""
        pending = bytearray()
        chunked = _head(200, {**_STREAM, "transfer-encoding": "chunked"})
        opening = chunked
        for event in events:
            if isinstance(event, bytes):
                pending += event
                continue
            self.wfile.write(opening + _chunk(pending))
            pending.clear()
            opening = b""
            if isinstance(event, Cut):
                raise ConnectionAbortedError("the script cuts this stream")
            self._stand_still(event)
        if opening:
            head = _head(200, {**_STREAM, "content-length": str(len(pending))})
            self.wfile.write(head + pending)
        else:
            self.wfile.write(_chunk(pending) + _LAST_CHUNK)

    def _stand_still(self, event: Pause | Stall) -> None:
        if isinstance(event, Pause):
            return self._wait(event.seconds, None)
        with self.server.stalls.one() as wake_pipe:
            self._wait(event.seconds, wake_pipe)

    def _wait(self, seconds: float | None, wake_pipe: WakePipe | None) -> None:
        """Wait for the time or the wake pipe; raise if one of the ends has disconnected."""
        deadline = None if seconds is None else time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            for source in (self.connection, self.server.stopping, wake_pipe):
                if source is not None:
                    selector.register(source, selectors.EVENT_READ)
            while True:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                ready = {key.fileobj for key, _ in selector.select(left)}
                if self.server.stopping in ready:
                    raise ConnectionAbortedError("the scripted model was stopped")
                if self.connection not in ready:
                    return
                if not self.connection.recv(1, socket.MSG_PEEK):
                    raise ConnectionResetError("the client went away")
                selector.unregister(self.connection)


_STREAM = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}


def _head(status: int, headers: dict[str, str]) -> bytes:
    # 529 ("overloaded") is the API's own and has no standard phrase.
    known = status in HTTPStatus.__members__.values()
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase if known else 'Error'}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def _chunk(data: bytearray) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), bytes(data)) if data else b""
