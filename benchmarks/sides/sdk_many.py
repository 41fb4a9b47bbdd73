"""claude-agent-sdk holds many sessions in one process: EMITTER SESSIONS SECONDS."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient
from common import tell
from memory import private_memory

emitter, sessions, wait = sys.argv[1], *map(int, sys.argv[2:4])
heard = 0
came = asyncio.Event()


async def read(client: ClaudeSDKClient) -> None:
    """The user: is given every message."""
    global heard
    async for _ in client.receive_messages():
        heard += 1
        came.set()


async def used(seconds: int) -> tuple[float, float]:
    """Return the processor time and the messages of a second, over some seconds."""
    begun, cpu, count = time.perf_counter(), time.process_time(), heard
    await asyncio.sleep(seconds)
    took = time.perf_counter() - begun
    return (time.process_time() - cpu) / took, (heard - count) / took


async def main() -> None:
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    before = private_memory()
    gate = asyncio.Semaphore(8)

    async def connect() -> ClaudeSDKClient:
        client = ClaudeSDKClient(ClaudeAgentOptions(cli_path=emitter))
        async with gate:
            await client.connect()
        return client

    clients = await asyncio.gather(*(connect() for _ in range(sessions)))
    readers = [asyncio.create_task(read(client)) for client in clients]
    assert readers
    await asyncio.sleep(1)
    each = (private_memory() - before) / sessions
    idle, _ = await used(wait)
    came.clear()
    await asyncio.gather(*(client.query("go") for client in clients))
    await came.wait()  # on a busy machine, nothing may come in the first second
    busy, got = await used(wait)
    tell(memory=each, idle=idle, busy=busy, lines=got)
    sys.stdout.flush()
    os.killpg(0, signal.SIGTERM)  # they do not read their input while they write


asyncio.run(main())
