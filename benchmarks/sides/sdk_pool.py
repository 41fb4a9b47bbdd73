"""A pool over claude-agent-sdk, as its users write one: CLAUDE TASKS RESULTS AT_ONCE.

TASKS and RESULTS are JSON Lines; a task that has a result already is not run again.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import IO, Any

from claude_agent_sdk import ClaudeAgentOptions, ResultMessage, query


async def run(task: dict[str, Any], claude: str, file: IO[str], room: asyncio.Semaphore) -> None:
    async with room:
        options = ClaudeAgentOptions(cli_path=claude)
        async for message in query(prompt=task["prompt"], options=options):
            if isinstance(message, ResultMessage):
                result = {"id": task["id"], "ok": not message.is_error, "text": message.result}
                file.write(json.dumps(result) + "\n")
                file.flush()


async def run_all(tasks: list[dict[str, Any]], claude: str, file: IO[str], at_once: int) -> None:
    room = asyncio.Semaphore(at_once)
    await asyncio.gather(*(run(task, claude, file, room) for task in tasks))


claude, tasks, results = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
written = results.read_text().splitlines() if results.exists() else []
done = {json.loads(line)["id"] for line in written}
listed = map(json.loads, tasks.read_text().splitlines())
left = [task for task in listed if task["id"] not in done]
with results.open("a") as file:
    asyncio.run(run_all(left, claude, file, int(sys.argv[4])))
