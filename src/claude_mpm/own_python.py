"""How a further process of ours is started, so that it imports nothing from the current folder.

The folder may be a repository that was just cloned: a `queue.py` or `selectors.py` in it is neither
ours nor trusted. `python -m` and `python -c` look there first unless they get `-P`, and so they do
for an entry of PYTHONPATH that is empty or names the current folder.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# The variables that say of a process to which session it belongs.
MARKS = frozenset({"CLAUDE_MPM_SESSION", "CLAUDE_MPM_FOLDER"})
# Variables of ours that are no settings, and none of Claude's business: whoever has the token may
# use the server.
NOT_SETTINGS = MARKS | {"CLAUDE_MPM_REMOTE_TOKEN", "CLAUDE_MPM_NOTIFY_SECRET"}


def own_python(*words: str) -> list[str]:
    """Return the command that runs this Python with `words`, isolated from the current folder.

    A virtual environment, an editable install, the user's packages and PYTHONPATH count in it as
    they do in this process.
    """
    return [sys.executable, *_isolation(), *words]


def own_environ(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for `own_python`: without the current folder in PYTHONPATH.

    Args:
        environ: what to begin with; None for this process's.
    """
    found = dict(os.environ if environ is None else environ)
    entries = found.pop("PYTHONPATH", "").split(os.pathsep)
    kept = [entry for entry in entries if os.path.normpath(entry) != os.curdir]
    return {**found, "PYTHONPATH": os.pathsep.join(kept)} if kept else found


def _isolation() -> list[str]:
    """Return the flags: never less than those of this process."""
    if sys.flags.isolated:
        return ["-I"]
    flags = {"-E": sys.flags.ignore_environment, "-s": sys.flags.no_user_site}
    return ["-P", *(flag for flag, is_set in flags.items() if is_set)]
