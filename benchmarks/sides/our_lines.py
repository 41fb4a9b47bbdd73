"""claude-mpm reads plain lines through everything: STATE LINES COMMAND..."""

from __future__ import annotations

import sys
import time

from common import tell

from claude_mpm import create_orchestrator

state, lines, command, *arguments = sys.argv[1:]
wanted = int(lines)
begun = time.perf_counter()
claude = create_orchestrator(
    "local", state_dir=state, wire="plain-text", claude_path=command, claude_args=arguments,
    use_framework=False,
)  # fmt: skip
claude.start_or_raise()
count = letters = 0
while count < wanted:
    line = claude.get_output(60)
    assert line is not None
    count += 1
    letters += len(line)
took = time.perf_counter() - begun
claude.stop()
tell(seconds=took, lines=count, letters=letters)
