"""What a network policy is worth on a real Kubernetes whose network enforces none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from claude_mpm import create_orchestrator
from claude_mpm.environments.pod import LABEL, pod_name
from claude_mpm.errors import LaunchError
from claude_mpm.link.kubectl import Kubectl
from claude_mpm.testing.subject import until

if TYPE_CHECKING:
    from real_places import Cluster


@pytest.mark.parametrize(
    ("network", "why"),
    [("none", "the network policy none does not hold"), ("mine", '"mine" not found')],
)
def test_a_session_does_not_start_where_nothing_closes_its_network(
    network: str, why: str, cluster: Cluster, pod_template: str
) -> None:
    session = create_orchestrator(
        "kubernetes", image=cluster.image, pull="Never", template=pod_template, network=network
    )
    with pytest.raises(LaunchError, match=why):
        session.start_or_raise()

    left = ("get", "pods,networkpolicies", "-o", "name", "-l")
    pod = f"{LABEL}={pod_name(session.session_id)}"
    until(lambda: not Kubectl().run(*left, pod), "the pod is still there, or its policy")
