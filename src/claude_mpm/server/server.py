"""The server: it accepts connections, and stops without ending a session."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from claude_mpm.server.connection_handler import ConnectionHandler, ServerContext
from claude_mpm.server.journal_stream import AsyncFolderWatch
from claude_mpm.wire.remote import ErrorMessage, TerminateMessage

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

_log = logging.getLogger(__name__)
_THREADS = 32  # starts that may be waited for at once
_ACCEPTED_AT_ONCE = 16
_ACCEPT_RETRY = 0.2  # seconds until the next try, where the system has no descriptors left
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_TOKEN_CHECK = 60.0  # seconds after which tokens are checked though no file has changed


class Server:
    """Serves the clients that connect to a socket.

    Args:
        listener: the listening socket.
        context: what the connections share.
        state_dir: the folder with the tokens; it must exist.
    """

    def __init__(self, listener: socket.socket, context: ServerContext, state_dir: Path) -> None:
        self._listener = listener
        self._context = context
        self._state_dir = state_dir
        self._handlers: dict[asyncio.Task[None], ConnectionHandler] = {}

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until SIGTERM or SIGINT is received.

        Args:
            ready: called once clients can connect.
        """
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(_THREADS, "claude-mpm-serve"))
        stop = asyncio.Event()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, stop.set)
        loop.add_signal_handler(signal.SIGCHLD, self._context.sessions.reap)
        self._listener.setblocking(False)
        self._listen()
        watching = asyncio.create_task(self._watch_tokens())
        ready()
        await stop.wait()
        _log.info("stopping, with %d connections", len(self._handlers))
        loop.remove_reader(self._listener)
        self._listener.close()
        watching.cancel()
        reason = "the server is being stopped; its sessions stay"
        await self._stop(list(self._handlers), TerminateMessage(reason=reason))

    def _listen(self) -> None:
        if self._listener.fileno() >= 0:
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                sock, _address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                self._retry_later(error)
                return
            handler = ConnectionHandler(sock, self._context)
            task = asyncio.create_task(handler.run())
            self._handlers[task] = handler
            task.add_done_callback(self._remove)
            self._context.pending.add(task)

    def _retry_later(self, error: OSError) -> None:
        _log.warning("a connection was not accepted: %s", error.strerror)
        if error.errno in _EXHAUSTED:
            self._context.pending.close_oldest()
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._listener)
            loop.call_later(_ACCEPT_RETRY, self._listen)

    def _remove(self, task: asyncio.Task[None]) -> None:
        self._context.pending.remove(task)
        self._handlers.pop(task).close()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a connection failed", exc_info=error)

    async def _watch_tokens(self) -> None:
        """Close the connections of tokens that are revoked."""
        watch = AsyncFolderWatch(self._state_dir)
        try:
            while True:
                await watch.wait(_TOKEN_CHECK)
                handlers = self._handlers.items()
                revoked = [task for task, handler in handlers if handler.is_revoked()]
                await self._stop(revoked, ErrorMessage(error="the token was revoked"))
        finally:
            watch.close()

    async def _stop(
        self, tasks: list[asyncio.Task[None]], last_message: ErrorMessage | TerminateMessage
    ) -> None:
        """Stop handlers, each between two messages if its client reads them, and wait for them."""
        await asyncio.gather(*(self._handlers[task].stop(task, last_message) for task in tasks))
        if tasks:
            await asyncio.wait(tasks)
