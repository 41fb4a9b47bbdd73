"""The server: it accepts connections, and stops without ending a session."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from claude_mpm.server.async_folder_watch import Changes
from claude_mpm.server.connection import Connection, Services
from claude_mpm.wire.remote import Error, Terminate

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

_log = logging.getLogger(__name__)
_THREADS = 32  # starts that may be waited for at once
_ACCEPTED_AT_ONCE = 16
_PAUSE = 0.2  # seconds until the next try, where the system has no descriptors left
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_CHECK = 60.0  # seconds after which tokens are looked at though no file has changed


class Server:
    """Serves the clients that connect to a socket.

    Args:
        listener: the listening socket.
        services: what the connections need.
        state_dir: the folder with the tokens; it must exist.
    """

    def __init__(self, listener: socket.socket, services: Services, state_dir: Path) -> None:
        self._listener = listener
        self._services = services
        self._state_dir = state_dir
        self._connections: dict[asyncio.Task[None], Connection] = {}

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until SIGTERM or SIGINT comes.

        Args:
            ready: called once clients can connect.
        """
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(_THREADS, "claude-mpm-serve"))
        stop = asyncio.Event()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, stop.set)
        loop.add_signal_handler(signal.SIGCHLD, self._services.hosting.reap)
        self._listener.setblocking(False)
        self._listen()
        watching = asyncio.create_task(self._watch_tokens())
        ready()
        await stop.wait()
        _log.info("stopping, with %d connections", len(self._connections))
        loop.remove_reader(self._listener)
        self._listener.close()
        watching.cancel()
        reason = "the server is being stopped; its sessions stay"
        await self._end(list(self._connections), Terminate(reason=reason))

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
                self._wait_for_room(error)
                return
            connection = Connection(sock, self._services)
            task = asyncio.create_task(connection.serve())
            self._connections[task] = connection
            task.add_done_callback(self._forget)
            self._services.door.come(task)

    def _wait_for_room(self, error: OSError) -> None:
        _log.warning("a connection was not accepted: %s", error.strerror)
        if error.errno in _NO_ROOM:
            self._services.door.send_oldest_away()
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._listener)
            loop.call_later(_PAUSE, self._listen)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._services.door.leave(task)
        self._connections.pop(task).close()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a connection failed", exc_info=error)

    async def _watch_tokens(self) -> None:
        """End the connections of tokens that are revoked."""
        changes = Changes(self._state_dir)
        try:
            while True:
                await changes.wait(_CHECK)
                revoked = [t for t, each in self._connections.items() if each.has_lost_its_token()]
                await self._end(revoked, Error(error="the token was revoked"))
        finally:
            changes.close()

    async def _end(self, tasks: list[asyncio.Task[None]], last_words: Error | Terminate) -> None:
        """End connections, each between two messages if its client takes them, and wait."""
        ends = [self._connections[task].end(task, last_words) for task in tasks]
        await asyncio.gather(*ends)
        if tasks:
            await asyncio.wait(tasks)
