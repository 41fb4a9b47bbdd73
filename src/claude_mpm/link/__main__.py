"""`python -m claude_mpm.link FOLDER`: the link of one session, started by its controller."""

from __future__ import annotations

import sys
from pathlib import Path

from claude_mpm.errors import MPMError
from claude_mpm.journal.layout import SessionFolder
from claude_mpm.link.link import run_link

if __name__ == "__main__":
    try:
        run_link(SessionFolder(Path(sys.argv[1])))
    except MPMError as problem:
        sys.exit(f"claude-mpm: {problem}")
