"""An HTTP server on loopback, as which a test plays the other side of a bridge."""

from __future__ import annotations

import gzip
import json
import threading
from abc import ABC, abstractmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import ssl


class LoopbackHttp(ABC):
    """Hands each request to `answer`, in a thread of its own; used with `with`.

    Args:
        tls: what makes it HTTPS; None for HTTP.

    Attributes:
        headers: those of the last request, by their names in small letters.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.headers: dict[str, str] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @abstractmethod
    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Return the status and what is said: bytes as they are, else JSON; None for nothing."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(server: LoopbackHttp) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            body = self._body()
            encoded = self.headers.get("Content-Encoding") == "gzip"
            self._answer(gzip.decompress(body) if encoded else body)

        def do_PATCH(self) -> None:
            self.do_POST()

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", "0")))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _answer(self, body: bytes) -> None:
            server.headers = {name.lower(): value for name, value in self.headers.items()}
            status, said = server.answer(self.command, self.path, body)
            raw = isinstance(said, bytes)
            data = said if raw else b"" if said is None else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", f"application/{'x-protobuf' if raw else 'json'}")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    return Handler
