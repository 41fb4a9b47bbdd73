"""Many prompts typed into the real Claude Code while the processors are busy.

    python tests/terminal/prompts_under_load.py [PROMPTS [LOOPS]]

Every prompt has to be answered, and heard by the model once: one that was taken and is said to be
refused would be asked again by a program, and its work done twice.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from claude_mpm import create_orchestrator
from claude_mpm.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claude_mpm import MPMOrchestrator

_SECONDS = 300.0  # for one prompt


class Count(msgspec.Struct):
    """How prompts fared.

    Args:
        answered: whose turn completed with its own answer.
        refused: whose turn did not, with what was said of it.
        heard: how often the model heard each prompt that it did not hear once.
        seconds: for all of them.
    """

    answered: int = 0
    refused: list[str] = []
    heard: dict[str, int] = {}
    seconds: float = 0.0


@contextmanager
def busy_loops(number: int) -> Iterator[None]:
    """Keep processors busy meanwhile."""
    loops = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(number)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def ask_all(claude: MPMOrchestrator, model: ScriptedModel, number: int) -> Count:
    """Ask one prompt after the other, and count."""
    count = Count()
    begin = time.monotonic()
    for n in range(number):
        prompt = f"Prompt number {n}."
        turn = claude.ask(prompt, timeout=_SECONDS)
        if turn.verdict.ok and turn.text == f"Claude heard: {prompt}":
            count.answered += 1
        else:
            count.refused.append(f"{prompt} {turn.verdict} {turn.text!r}")
        times = sum(request.prompt == prompt for request in model.requests)
        if times != 1:
            count.heard[prompt] = times
        if n % 50 == 49:
            sys.stderr.write(f"{n + 1} prompts: {count.answered} answered once\n")
    count.seconds = time.monotonic() - begin
    return count


def _main(number: int, loops: int) -> Count:
    with tempfile.TemporaryDirectory() as folder, ScriptedModel() as model:
        home, project = Path(folder, "home"), Path(folder, "project")
        project.mkdir()
        environ = {**model.environment(home), "PATH": os.environ["PATH"]}
        with (
            busy_loops(loops),
            create_orchestrator(
                "terminal",
                trust=True,
                permission_mode="dontAsk",
                environ=environ,
                cwd=str(project),
                state_dir=str(Path(folder, "state")),
            ) as claude,
        ):
            return ask_all(claude, model, number)


if __name__ == "__main__":
    given = dict(enumerate(sys.argv[1:]))
    found = _main(int(given.get(0, 500)), int(given.get(1, 4)))
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(found)).decode() + "\n")
    sys.exit(bool(found.refused or found.heard))
