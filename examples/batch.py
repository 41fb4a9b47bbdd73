"""Several prompts at once, each in a session of its own, in an event loop.

python examples/batch.py "Explain the build" "Explain the tests"
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from claude_mpm import create_orchestrator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_mpm import Turn

# A running Claude takes about 150 MB.
AT_ONCE = 4


async def answer(prompt: str, limit: asyncio.Semaphore) -> Turn:
    """Return the finished turn of one prompt."""
    async with limit, create_orchestrator("local") as claude:
        turn: Turn = await claude.ask(prompt, timeout=600)
        return turn


async def main(prompts: Sequence[str]) -> int:
    """Answer all prompts, print the outcome of each, and return the exit status."""
    limit = asyncio.Semaphore(AT_ONCE)
    turns = await asyncio.gather(*(answer(prompt, limit) for prompt in prompts))
    for turn in turns:
        print(f"# {turn.prompt}  ({turn.verdict}, ${turn.cost_usd:.4f})\n{turn.text}\n")
    return max((turn.verdict.exit_status for turn in turns), default=0)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
