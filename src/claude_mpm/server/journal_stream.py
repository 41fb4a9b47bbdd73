"""The stream of a session's journal to one client, at the speed at which that client reads."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from claude_mpm.journal.folder_watch import POLL_INTERVAL, subscribe
from claude_mpm.sessions.reader import LIVENESS_INTERVAL
from claude_mpm.wire.remote import BEAT, CHUNK, OutputMessage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.server.client import Client


_FIRST_CHUNK = 1 << 11  # bytes: a link that is cut all the time gets at least these across


class AsyncFolderWatch:
    """Notices changes of the files in a folder, for one coroutine of an event loop.

    Args:
        folder: it must exist.
    """

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._subscription = subscribe(folder, self._notify)

    async def wait(self, max_wait: float) -> None:
        """Wait until the folder may have changed since the last wait, or for `max_wait` seconds."""
        interval = min(max_wait, POLL_INTERVAL) if self._subscription.polls else max_wait
        with suppress(TimeoutError):
            async with asyncio.timeout(interval):
                await self._changed.wait()
        self._changed.clear()

    def close(self) -> None:
        """Stop watching."""
        self._subscription.close()

    def _notify(self) -> None:
        # Called by the watching thread, and not by the event loop's.
        with suppress(RuntimeError):  # the loop has ended in the meantime
            self._loop.call_soon_threadsafe(self._changed.set)


async def read_chunks(folder: SessionFolder, offset: int) -> AsyncIterator[bytes]:
    """Yield a journal from an offset, in chunks, until its session has ended.

    The chunks grow, because what was sent of one is lost if the link is cut. An empty chunk means
    that nothing was written for `BEAT` seconds.
    """
    watch = AsyncFolderWatch(folder.exchange)
    journal = folder.journal.open()
    silence, size = 0.0, _FIRST_CHUNK
    try:
        while True:
            # Read before the journal: what the session wrote, it wrote before its end.
            ended = folder.has_ended() or not folder.meta_file.exists()
            if chunk := os.pread(journal, size, offset):
                offset += len(chunk)
                silence, size = 0.0, min(2 * size, CHUNK)
                yield chunk
            elif ended:
                return
            else:
                await watch.wait(LIVENESS_INTERVAL)
                silence += LIVENESS_INTERVAL
                if silence >= BEAT:
                    silence = 0.0
                    yield b""
    finally:
        os.close(journal)
        watch.close()


async def stream_journal(client: Client, folder: SessionFolder, offset: int) -> None:
    """Send a client the journal from an offset to its end."""
    async for chunk in read_chunks(folder, offset):
        await client.socket.send(OutputMessage(journal=chunk, offset=offset))
        offset += len(chunk)
    await client.socket.send(OutputMessage(offset=offset, ended=True))
