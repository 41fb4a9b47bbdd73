"""Asking a build what it can do: a process of its own starts it against the scripted model."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.capabilities.facts import Capabilities, by_version
from claude_mpm.link.command import run_short
from claude_mpm.own_python import own_environ, own_python
from claude_mpm.validation import NOT_JSON, error_line

if TYPE_CHECKING:
    from pathlib import Path

_PATIENCE = 60.0  # seconds for all of it; a build that hangs is given up in its own time before


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """What a probe has found.

    Args:
        version: as the build told it while it ran; empty where it told none.
        facts: the names of what it can do.
        messages: the fields of each message that it wrote, by type with subtype.
        hints: what may stand for an option that it refuses, by its own `--help`; a line each.
        error: why nothing could be found; empty where it could.
        late: whether that is so because the build took too long.
    """

    version: str = ""
    facts: tuple[str, ...] = ()
    messages: dict[str, list[str]] = {}
    hints: tuple[str, ...] = ()
    error: str = ""
    late: bool = False

    def capabilities(self, version: str = "") -> Capabilities:
        """Return what was found.

        Args:
            version: as the build told it before; what it tells while it runs wins.
        """
        told = self.version or version
        if self.error:
            return msgspec.structs.replace(by_version(told), source="assumed")
        return Capabilities(told, frozenset(self.facts), "probe")


def probe(claude: Path) -> Probe:
    """Start a build once and return what it can do; this takes about a second.

    It gets a home of its own, no variables of this process but PATH, and nothing but the scripted
    model to talk to.
    """
    command = own_python("-m", "claude_mpm.testing.build_probe", str(claude))
    try:
        done = run_short(command, data=b"", timeout=_PATIENCE, environ=own_environ())
    except (OSError, subprocess.TimeoutExpired) as error:
        return Probe(error=f"the probe could not be run: {error}", late=True)
    try:
        return msgspec.json.decode(done.stdout, type=Probe)
    except NOT_JSON:
        said = error_line(done.stderr.decode("utf-8", "replace"))
        return Probe(error=f"the probe ended with status {done.returncode}: {said}")
