"""What the Claude of a start can do: asked where it is on this machine, heard from it elsewhere."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.capabilities.facts import ASSUMED, Capabilities, by_version
from claude_mpm.capabilities.memory import Memory, check_fit, known_build, probed_build, refusal
from claude_mpm.patterns import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from claude_mpm.environments.base import Environment

_logger = logging.getLogger("claude_mpm.capabilities")
# What a build that nobody could ask is not given, since an older one would end at it.
_NOT_UNASKED = frozenset({"agents_by_file", "permission_prompts"})
# What a build says that is given what another of its version would take.
_NOT_TAKEN = lazy_pattern(
    r"unknown option '--(system-prompt-snapshot|permission-prompts)'|Invalid --agents configuration"
)


class Negotiation:
    """What the build of one session can do, from its start on.

    Args:
        folder: the state folder.

    Attributes:
        build: what the build can do.
        unused: facts of which no use is made in this session, whatever the build can do.
    """

    __slots__ = ("_here", "_memory", "_what", "build", "unused")

    def __init__(self, folder: Path) -> None:
        self._memory = Memory(folder)
        self._here: Path | None = None  # the binary, where it is on this machine
        self._what = "claude"
        self.build = ASSUMED
        self.unused: frozenset[str] = frozenset()

    def leave_out(self, *facts: str) -> None:
        """Make no use of these facts in this session."""
        self.unused |= {*facts}

    def begin(
        self, place: Environment, claude: str, environ: Mapping[str, str], told: str
    ) -> Capabilities:
        """Return what a build can do that is about to be started.

        Args:
            place: where it is.
            claude: the command, as the place knows it.
            environ: its variables.
            told: the version that the session's Claude told at its last start; empty for none.

        Raises:
            ClaudeTooOld: it cannot be served honestly.
        """
        self._what = claude or "claude"
        self._here = place.binary_here(claude)
        if self._here is None:
            known = by_version(told)
            lacks: frozenset[str] = frozenset() if known.version else _NOT_UNASKED
            self.build = known.less(lacks)
            return self.build
        known_here = known_build(self._here, self._memory, environ)
        self.build = known_here.capabilities()
        check_fit(self.build, self._what)
        limits = self.build.limits()
        if limits and known_here.told != limits:
            _logger.warning("%s", limits)
            self._memory.keep(self._here, msgspec.structs.replace(known_here, told=limits))
        return self.build

    def follow(self, told: str) -> None:
        """Take the version that the Claude of a session told which runs already."""
        self.build = by_version(told)

    @property
    def typed(self) -> bool:
        """Whether the build gets every prompt as typed, since it takes none well as it is."""
        return not self.build.can("verbatim")

    @property
    def asks_version(self) -> bool:
        """Whether the build is to be asked for its version once it runs."""
        return not self.build.version or self._here is None

    def refuse_silent(self) -> None:
        """Refuse a build that does not answer when it is asked for its version.

        Raises:
            ClaudeTooOld: always.
        """
        raise refusal(Capabilities(), self._what)

    def doubt(self, said: str) -> str:
        """Return what is to be done where a build ended at what it should take; empty for nothing.

        Such a build is probed, so that its next start is one that it takes.

        Args:
            said: what it said at its end.

        Raises:
            ClaudeTooOld: it cannot be served honestly.
        """
        if self._here is None or not _NOT_TAKEN.search(said):
            return ""
        known = probed_build(self._here, self._memory)[0].capabilities()
        check_fit(known, self._what)
        return "; what it does take is known now: start it again"

    def hear(self, version: str) -> bool:
        """Take the version that a build tells in its first answers; return whether that is news.

        Where it contradicts what the build said before it was started, the build is probed.

        Args:
            version: as it tells it; empty where it tells none.

        Raises:
            ClaudeTooOld: it cannot be served honestly.
        """
        known = self.build
        if version == known.version or not (
            version or (known.version and known.can("tells_version"))
        ):
            return False
        if self._here is None or not known.version:
            self.build = by_version(version)
            check_fit(self.build, self._what)
            if limits := self.build.limits():
                _logger.warning("%s", limits)
            return True
        now = version or "does not say it"
        _logger.warning("%s said that it is %s, and now %s", self._here, known.version, now)
        self.build = probed_build(self._here, self._memory)[0].capabilities()
        check_fit(self.build, self._what)
        return True
