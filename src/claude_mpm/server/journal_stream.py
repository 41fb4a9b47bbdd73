"""A session's journal on its way to one client, as fast as that client takes it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from claude_mpm.server.async_folder_watch import Changes
from claude_mpm.sessions.reader import LIVENESS_INTERVAL
from claude_mpm.wire.remote import BEAT, CHUNK, Output

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.server.client import Client


_FIRST_PIECE = 1 << 11  # bytes: a link that is cut all the time gets at least these across


async def pieces(folder: SessionFolder, offset: int) -> AsyncIterator[bytes]:
    """Yield a journal from a byte on, piece by piece, until its session has ended.

    The pieces grow: what was sent of one when the link is cut was sent in vain. An empty piece
    says that nothing has come for a while.
    """
    changes = Changes(folder.exchange)
    journal = folder.journal.open()
    silence, size = 0.0, _FIRST_PIECE
    try:
        while True:
            # Looked at first: what is written is written before.
            over = folder.has_ended() or not folder.meta_file.exists()
            if piece := os.pread(journal, size, offset):
                offset += len(piece)
                silence, size = 0.0, min(2 * size, CHUNK)
                yield piece
            elif over:
                return
            else:
                await changes.wait(LIVENESS_INTERVAL)
                silence += LIVENESS_INTERVAL
                if silence >= BEAT:
                    silence = 0.0
                    yield b""
    finally:
        os.close(journal)
        changes.close()


async def ship(client: Client, folder: SessionFolder, offset: int) -> None:
    """Send a client the journal from a byte on, to its end."""
    async for piece in pieces(folder, offset):
        await client.peer.send(Output(journal=piece, offset=offset))
        offset += len(piece)
    await client.peer.send(Output(offset=offset, ended=True))
