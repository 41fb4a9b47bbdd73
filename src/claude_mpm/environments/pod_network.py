"""What a pod may reach: a network policy, and the check from inside that it holds."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

from claude_mpm.environments.pod import LABEL
from claude_mpm.errors import LaunchError, UsageError

if TYPE_CHECKING:
    from claude_mpm.environments.base import Environment
    from claude_mpm.link.kubectl import Kubectl

NONE = "none"
NETWORK = "claude-mpm/network"
_TO_HOLD = 20.0  # seconds for a policy to come into force
_LOOK_AGAIN = 0.5
# Prints `open` where something answers, also by refusing; `closed`; or why nobody can tell.
_REACH = """host=$1 port=$2
[ -n "$host" ] || { host=${KUBERNETES_SERVICE_HOST-} port=${KUBERNETES_SERVICE_PORT-}; }
[ -n "$host" ] || { echo "no address to try"; exit; }
for tool in bash timeout; do
    command -v $tool >/dev/null || { echo "there is no $tool in the image"; exit; }
done
if said=$(timeout 3 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$host" "$port" 2>&1); then echo open; else
    case $said in *refused*) echo open ;; *) echo closed ;; esac
fi"""


def check_address(network: str, address: str) -> None:
    """Refuse what is no address to try, or one that nothing closes.

    Raises:
        UsageError: it is not "HOST:PORT", or there is no `network`.
    """
    if address and not network:
        raise UsageError("kubernetes: network_probe is what `network` closes; name one")
    host, _, port = address.rpartition(":")
    if address and not (host and port.isdecimal()):
        raise UsageError(f"kubernetes: network_probe is HOST:PORT, not {address!r}")


def restrict(
    kubectl: Kubectl, place: Environment, pod: dict[str, Any], network: str, address: str
) -> None:
    """Put a pod under a network policy, and see from inside that it holds.

    A policy that no network enforces does nothing, and says nothing. So what is not reached any
    more has to have been reached before.

    Args:
        place: the pod.
        network: "none" for a policy that lets nothing out, or the name of one that is there.
        address: what must not be reached, as "HOST:PORT"; the API server's by default.

    Raises:
        LaunchError: the policy does not hold, or nobody can tell.
    """
    before = _reach(place, address)
    if before != "open":
        why = "it is not reached without a policy either" if before == "closed" else before
        raise LaunchError(
            f"kubernetes: whether the network is closed cannot be seen from inside: {why};"
            " name an address that the policy closes, with network_probe=HOST:PORT"
        )
    name = pod["metadata"]["name"]
    if network == NONE:
        kubectl.run("create", "-f", "-", data=json.dumps(_nothing(pod)).encode())
    else:
        kubectl.run("get", "networkpolicy", network, "-o", "name")
        kubectl.run("label", "pod", name, f"{NETWORK}={network}")
    deadline, never = time.monotonic() + _TO_HOLD, threading.Event()
    while _reach(place, address) == "open":
        if time.monotonic() > deadline:
            raise LaunchError(
                f"kubernetes: the network policy {network} does not hold: what it closes is still"
                " reached from inside the pod; does the cluster's network enforce policies?"
            )
        never.wait(_LOOK_AGAIN)


def _reach(place: Environment, address: str) -> str:
    host, _, port = address.rpartition(":")
    return place.run(["sh", "-c", _REACH, "reach", host, port]).decode("utf-8", "replace").strip()


def _nothing(pod: dict[str, Any]) -> dict[str, Any]:
    """Return a policy that lets nothing out of a pod, and goes with it."""
    metadata = pod["metadata"]
    owner = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": metadata["name"], "ownerReferences": [owner]},
        "spec": {
            "podSelector": {"matchLabels": {LABEL: metadata["name"]}},
            "policyTypes": ["Egress"],
            "egress": [],
        },
    }
