"""Serving the page until somebody ends it."""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Generator

    from claude_mpm.web.application import Page

_MOST_HEAD = 1 << 16  # bytes of a request's head
_GRACE = 5  # seconds for answers that are under way


class _Server(uvicorn.Server):
    """Ends its streams, which would go on for ever, before it waits for its answers."""

    def __init__(self, config: uvicorn.Config, page: Page) -> None:
        super().__init__(config)
        self._page = page

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Let SIGINT and SIGTERM begin the end, and be nothing more than that."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._begin_end, number)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _begin_end(self, number: int) -> None:
        self._page.end()
        self.handle_exit(number, None)


async def serve(
    page: Page, listener: socket.socket, tls: ssl.SSLContext | None, ready: Callable[[], None]
) -> None:
    """Serve a page on a listening socket until SIGINT or SIGTERM.

    Args:
        tls: what the server proves itself with; None for plain HTTP.
        ready: called when it can be reached.
    """
    config = uvicorn.Config(
        page.application(),
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # nothing is believed of whom a request says that it is from
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
        h11_max_incomplete_event_size=_MOST_HEAD,
    )
    config.load()
    config.ssl = tls
    keeping = asyncio.create_task(page.keep())
    server = _Server(config, page)
    ready()
    try:
        await server.serve(sockets=[listener])
    finally:
        keeping.cancel()
        await keeping
        await asyncio.to_thread(page.steering.let_go)
