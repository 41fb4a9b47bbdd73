"""claude-agent-sdk reads stream-json and gives the user each message: EMITTER FILE LINES."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, ResultMessage
from common import tell

emitter, file, lines = sys.argv[1], sys.argv[2], int(sys.argv[3])
turns = Path(file).read_bytes().count(b'{"type": "result"')


async def main() -> None:
    options = ClaudeAgentOptions(cli_path=emitter, env={**os.environ, "EMIT_FILE": file})
    async with ClaudeSDKClient(options) as client:
        begun, ended = time.perf_counter(), 0
        await client.query("go")
        async for message in client.receive_messages():
            ended += isinstance(message, ResultMessage)
            if ended == turns:
                break
        tell(seconds=time.perf_counter() - begun, events=lines)


asyncio.run(main())
