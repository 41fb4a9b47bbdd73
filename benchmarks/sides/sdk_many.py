"""claude-agent-sdk holds many sessions in one process: EMITTER SESSIONS SECONDS LINES_EACH."""

from __future__ import annotations

import asyncio
import sys
import time

from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient
from common import tell
from memory import private_memory

emitter, sessions, wait, lines = sys.argv[1], *map(int, sys.argv[2:5])
heard = 0


async def read(client: ClaudeSDKClient) -> None:
    """The user: is given every message."""
    global heard
    async for _ in client.receive_messages():
        heard += 1


async def main() -> None:
    before = private_memory()
    gate = asyncio.Semaphore(8)

    async def connect() -> ClaudeSDKClient:
        client = ClaudeSDKClient(ClaudeAgentOptions(cli_path=emitter))
        async with gate:
            await client.connect()
        return client

    clients = await asyncio.gather(*(connect() for _ in range(sessions)))
    readers = [asyncio.create_task(read(client)) for client in clients]
    await asyncio.sleep(1)
    each = (private_memory() - before) / sessions
    if lines:
        await asyncio.gather(*(client.query("go") for client in clients))
    begun, cpu, count = time.perf_counter(), time.process_time(), heard
    await asyncio.sleep(wait)
    took, used = time.perf_counter() - begun, time.process_time() - cpu
    got = heard - count
    for reader in readers:
        reader.cancel()
    tell(memory=each, cpu=used / took, lines=got / took)
    await asyncio.gather(*(client.disconnect() for client in clients))


asyncio.run(main())
