"""A warm turn, by hand and through the SDK's client: CLAUDE ROUNDS."""

from __future__ import annotations

import asyncio
import sys
import time

from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, ResultMessage
from common import ByHand, tell_pairs

claude, rounds = sys.argv[1], int(sys.argv[2])


def by_hand(process: ByHand) -> float:
    """Write the prompt, read to the turn's result, which is where the SDK's client ends it."""
    begun = time.perf_counter()
    process.prompt("hi")
    return process.wait_for(b'"type":"result"') - begun


async def by_sdk(client: ClaudeSDKClient) -> float:
    """The same turn; it ends at the same message."""
    begun = time.perf_counter()
    await client.query("hi")
    said = [message async for message in client.receive_response()]
    took = time.perf_counter() - begun
    assert isinstance(said[-1], ResultMessage) and "heard: hi" in str(said[-1].result)
    return took


async def main() -> None:
    """Take turns, each of both in each round."""
    process = ByHand(claude)
    process.initialize()
    async with ClaudeSDKClient(ClaudeAgentOptions(cli_path=claude)) as client:
        for _ in range(3):
            by_hand(process), await by_sdk(client)
        pairs = [(await by_sdk(client), by_hand(process)) for _ in range(rounds)]
    process.end()
    tell_pairs(sdk=[sdk for sdk, _ in pairs], hand=[hand for _, hand in pairs])


asyncio.run(main())
