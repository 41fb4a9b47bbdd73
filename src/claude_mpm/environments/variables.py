"""Which variables of this machine's environment mean something in another place."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# What is taken along unasked: what configures Claude, and the language.
_TAKEN_ALONG = (
    "ANTHROPIC_*", "CLAUDE_CODE_*", "DISABLE_*", "API_TIMEOUT_MS", "BASH_*_TIMEOUT_MS",
    "BASH_MAX_OUTPUT_LENGTH", "MAX_THINKING_TOKENS", "MCP_*TIMEOUT", "LANG", "LC_*", "TZ",
)  # fmt: skip
# What describes this machine and its user, and would mislead in any other place.
_BOUND_HERE = (
    "PATH", "HOME", "PWD", "OLDPWD", "SHELL", "SHLVL", "USER", "LOGNAME", "TMPDIR", "TMP", "TEMP",
    "CLAUDE_CONFIG_DIR", "CLAUDE_CODE_TMPDIR", "XDG_*", "SSH_*", "DISPLAY", "VIRTUAL_ENV",
    "LD_*", "PYTHON*", "_",
)  # fmt: skip
# What an outer Claude Code leaves in the environment of its children, and what is none of Claude's
# business: whoever has the token may use the server.
_OF_AN_OUTER_CLAUDE = (
    "CLAUDECODE", "CLAUDE_PID", "CLAUDE_CODE_SESSION_ID", "CLAUDE_CODE_CHILD_SESSION",
    "CLAUDE_CODE_ENTRYPOINT", "CLAUDE_CODE_SSE_PORT", "CLAUDE_MPM_SESSION",
    "CLAUDE_MPM_FOLDER", "CLAUDE_MPM_REMOTE_TOKEN",
)  # fmt: skip


def inherited(asked: Mapping[str, str] | None) -> dict[str, str]:
    """Return the environment that was asked for, or else this process's, for a Claude here."""
    given: Mapping[str, str] = os.environ if asked is None else asked
    return {name: value for name, value in given.items() if name not in _OF_AN_OUTER_CLAUDE}


def carried(asked: Mapping[str, str] | None) -> dict[str, str]:
    """Return what of it another place is given.

    What was asked for goes along but for what is bound to this machine; of this process's own
    environment only what configures Claude.
    """
    return {
        name: value
        for name, value in inherited(asked).items()
        if not _matches(name, _BOUND_HERE)
        and name.isidentifier()
        and (asked is not None or _matches(name, _TAKEN_ALONG))
    }


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
