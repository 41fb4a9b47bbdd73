"""`claude-mpm mcp --http`: the MCP server on a port of this machine, for clients with the token."""

from __future__ import annotations

import hmac
import logging
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn
from mcp.server.transport_security import TransportSecuritySettings

from claude_mpm.cli.output import echo
from claude_mpm.server.listening import listen

if TYPE_CHECKING:
    from collections.abc import Generator

    from mcp.server.mcpserver import MCPServer
    from starlette.types import ASGIApp, Receive, Scope, Send

_GRACE = 5  # seconds for answers that are under way


class HttpTransport:
    """Serves clients over HTTP.

    Args:
        server: what answers them.
        port: of 127.0.0.1; 0 for any.
        token: what they must bring.

    Raises:
        UsageError: the port cannot be had.
    """

    def __init__(self, server: MCPServer[Any], port: int, token: str) -> None:
        hosts = [f"{host}:*" for host in ("127.0.0.1", "localhost")]
        security = TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=[])
        app = RequireToken(server.streamable_http_app(transport_security=security), token)
        self._listener = listen("127.0.0.1", port, anonymous=False, tls=False)
        self._server = _Server(
            uvicorn.Config(
                app, log_level="error", access_log=False, timeout_graceful_shutdown=_GRACE
            )
        )

    def run(self) -> None:
        """Say where it is, and serve until `end` is called."""
        with self._listener:
            echo(f"http://127.0.0.1:{self._listener.getsockname()[1]}/mcp", err=True)
            self._server.run(sockets=[self._listener])

    def end(self) -> None:
        """Take nothing more, and end what is under way; called by a handler of signals."""
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # streams are cut on purpose
        self._server.handle_exit(signal.SIGTERM, None)


class _Server(uvicorn.Server):
    """Leaves signals to the command, which has more to end than this."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Change no handler."""
        yield


class RequireToken:
    """Passes on the requests that bring the token, and refuses all others.

    Args:
        app: what answers them.
        token: what they must bring as `Authorization: Bearer TOKEN`.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = b"Bearer " + token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and not self._is_allowed(scope):
            from starlette.responses import PlainTextResponse

            refused = PlainTextResponse("no token, or a wrong one\n", status_code=401)
            await refused(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_allowed(self, scope: Scope) -> bool:
        given = dict(scope["headers"]).get(b"authorization", b"")
        return hmac.compare_digest(given, self._expected)
