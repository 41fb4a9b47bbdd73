"""The orchestrators that come with the package; each stands for a place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_mpm.orchestration.orchestrator import MPMOrchestrator

if TYPE_CHECKING:
    from claude_mpm.environments.base import Environment

# The module of a place is imported when it is first used: most programs use one.


class LocalOrchestrator(MPMOrchestrator):
    """Runs Claude on this machine."""

    name = "local"


class DockerOrchestrator(MPMOrchestrator):
    """Runs Claude in a container."""

    name = "docker"

    @classmethod
    def place(cls) -> type[Environment]:
        """Return the class of the place."""
        from claude_mpm.environments.docker import Docker

        return Docker


class SSHOrchestrator(MPMOrchestrator):
    """Runs Claude on another machine, over SSH."""

    name = "ssh"

    @classmethod
    def place(cls) -> type[Environment]:
        """Return the class of the place."""
        from claude_mpm.environments.ssh import SSH

        return SSH


class RemoteOrchestrator(MPMOrchestrator):
    """Runs Claude where a `claude-mpm serve` is."""

    name = "remote"

    @classmethod
    def place(cls) -> type[Environment]:
        """Return the class of the place."""
        from claude_mpm.environments.remote import Remote

        return Remote


class TerminalOrchestrator(MPMOrchestrator):
    """Runs Claude's native interface on a terminal of this machine."""

    name = "terminal"

    @classmethod
    def place(cls) -> type[Environment]:
        """Return the class of the place."""
        from claude_mpm.environments.terminal import Terminal

        return Terminal


class KubernetesOrchestrator(MPMOrchestrator):
    """Runs Claude in a pod of a Kubernetes cluster."""

    name = "kubernetes"

    @classmethod
    def place(cls) -> type[Environment]:
        """Return the class of the place."""
        from claude_mpm.environments.kubernetes import Kubernetes

        return Kubernetes


BUILT_IN: dict[str, type[MPMOrchestrator]] = {
    each.name: each
    for each in (
        LocalOrchestrator,
        DockerOrchestrator,
        SSHOrchestrator,
        RemoteOrchestrator,
        TerminalOrchestrator,
        KubernetesOrchestrator,
    )
}
