"""Serving the page until somebody ends it."""

from __future__ import annotations

import asyncio
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Generator, Iterator

    from claude_mpm.web.application import Page

_MOST_HEAD = 1 << 16  # bytes of a request's head
_GRACE = 5  # seconds for answers that are under way


class _Server(uvicorn.Server):
    """Ends its streams, which would go on for ever, before it waits for its answers."""

    def __init__(self, config: uvicorn.Config, page: Page, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._page = page
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and then say so: by now a signal ends the server as it should be ended."""
        await super().startup(sockets)
        self._ready()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Let SIGINT and SIGTERM begin the end, and be nothing more than that.

        Beside other work, signals are that work's: it ends the server itself.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.begin_end)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def begin_end(self) -> None:
        """Take nothing more, and end what is under way; a second time, wait for nothing."""
        self._page.end()
        self.handle_exit(signal.SIGINT, None)


async def serve(
    page: Page, listener: socket.socket, tls: ssl.SSLContext | None, ready: Callable[[], None]
) -> None:
    """Serve a page on a listening socket until SIGINT or SIGTERM.

    Args:
        tls: what the server proves itself with; None for plain HTTP.
        ready: called when it can be reached, and ended.
    """
    await _run(_server(page, tls, ready), page, listener)


@contextmanager
def served_beside(page: Page, listener: socket.socket) -> Iterator[None]:
    """Serve a page by plain HTTP within the block, by a loop in a thread of its own.

    This thread makes the loop and the other runs it; it is reached by `call_soon_threadsafe` alone.
    """
    server = _server(page, None, lambda: None)
    with (
        asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner,
        ThreadPoolExecutor(1, "claude-mpm-web") as thread,
    ):
        serving = thread.submit(runner.run, _run(server, page, listener))
        try:
            yield
        finally:
            runner.get_loop().call_soon_threadsafe(server.begin_end)
            serving.result()


def _server(page: Page, tls: ssl.SSLContext | None, ready: Callable[[], None]) -> _Server:
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
    return _Server(config, page, ready)


async def _run(server: _Server, page: Page, listener: socket.socket) -> None:
    keeping = asyncio.create_task(page.keep())
    try:
        await server.serve(sockets=[listener])
    finally:
        keeping.cancel()
        await keeping
        await asyncio.to_thread(page.steering.let_go)
