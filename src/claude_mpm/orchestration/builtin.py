"""The orchestrators that come with the package."""

from __future__ import annotations

from claude_mpm.orchestration.orchestrator import MPMOrchestrator


class LocalOrchestrator(MPMOrchestrator):
    """Runs Claude on this machine."""

    name = "local"


BUILT_IN: dict[str, type[MPMOrchestrator]] = {LocalOrchestrator.name: LocalOrchestrator}
