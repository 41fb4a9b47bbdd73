"""Builds of Claude Code that are none: small programs that say which they are, and what they do."""

from __future__ import annotations

import sys
from pathlib import Path

STAND_IN = Path(__file__).parents[1] / "stand_in.py"


def make_build(folder: Path, version: str, **environ: str) -> Path:
    """Return a build that says a version, and is the tests' stand-in for all else.

    Each time that it is asked for its version, it adds a byte to the file `claude.asked` beside it.

    Args:
        folder: where to put it; one build is in a folder.
        version: what it prints for `--version`.
        environ: variables of the stand-in; STAND_IN_VERSION is the version unless it is given.
    """
    folder.mkdir(exist_ok=True)
    script = folder / "claude"
    known = {"STAND_IN_VERSION": version.split()[0], **environ}
    variables = " ".join(f'{name}="{value}"' for name, value in known.items())
    said = f'printf . >>"$0.asked"; echo "{version}"; exit'
    run = f'{variables} "{sys.executable}" "{STAND_IN}" "$@"'
    script.write_text(f'#!/bin/sh\n[ "$1" != --version ] || {{ {said}; }}\nexec env {run}\n')
    script.chmod(0o755)
    return script
