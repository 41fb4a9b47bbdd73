"""The orchestrators that come with the package; each stands for a place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_mpm.orchestration.orchestrator import MPMOrchestrator

if TYPE_CHECKING:
    from claude_mpm.environments.base import Environment


class LocalOrchestrator(MPMOrchestrator):
    """Runs Claude on this machine."""

    name = "local"


class SSHOrchestrator(MPMOrchestrator):
    """Runs Claude on another machine, over SSH."""

    name = "ssh"

    @classmethod
    def place(cls) -> type[Environment]:
        """Return the class of the place."""
        from claude_mpm.environments.ssh import SSH

        return SSH


BUILT_IN: dict[str, type[MPMOrchestrator]] = {
    each.name: each for each in (LocalOrchestrator, SSHOrchestrator)
}
