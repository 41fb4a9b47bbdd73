"""claude-agent-sdk runs one prompt: CLAUDE PROMPT."""

from __future__ import annotations

import asyncio
import sys

from claude_agent_sdk import ClaudeAgentOptions, query


async def main() -> None:
    options = ClaudeAgentOptions(cli_path=sys.argv[1])
    async for message in query(prompt=sys.argv[2], options=options):
        print(message)


asyncio.run(main())
