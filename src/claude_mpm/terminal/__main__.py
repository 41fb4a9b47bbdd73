"""`python -m claude_mpm.terminal FOLDER`: the host of one session, started by its controller."""

from __future__ import annotations

import sys
from pathlib import Path

from claude_mpm.journal.layout import SessionFolder
from claude_mpm.terminal.host import run_host

if __name__ == "__main__":
    sys.exit(run_host(SessionFolder(Path(sys.argv[1]))))
