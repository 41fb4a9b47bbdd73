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
_FIRST = 10.0  # seconds for an answer while nothing is closed
_LEAST, _MOST, _SLOWER = 3.0, 25.0, 5.0  # seconds of silence that say it is closed, and the factor
# Prints the outcome of a connection, in a word that has a line below, or why none can be tried.
_REACH = """host=$1 port=$2
[ -n "$host" ] || { host=${KUBERNETES_SERVICE_HOST-} port=${KUBERNETES_SERVICE_PORT-}; }
[ -n "$host" ] || { echo "no address to try"; exit; }
for tool in bash timeout; do
    command -v $tool >/dev/null || { echo "there is no $tool in the image"; exit; }
done
export LC_ALL=C
said=$(timeout "$3" bash -c 'echo begun; exec 3<>"/dev/tcp/$0/$1" && echo open' \
    "$host" "$port" 2>&1)
case $said in
begun*open) echo open ;;
*"Connection refused"*) echo refused ;;
*"name resolution"*|*"not known"*|*"No address"*) echo unresolved ;;
begun|*"timed out"*) echo silent ;;
begun*) echo unreachable ;;
*) echo slow ;;
esac"""
_REACHED = ("open", "refused")
_SAID = {
    "open": "it is reached",
    "refused": "it is reached, and refuses the connection",
    "unresolved": "its name is not resolved there",
    "silent": "it does not answer in time",
    "unreachable": "the pod's own system says that it is out of reach",
    "slow": "the pod is too slow to try",
}


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
    began = time.monotonic()
    before = _reach(place, address, _FIRST)
    if before not in _REACHED:
        said = f"without a policy, {_SAID[before]}" if before in _SAID else before
        raise LaunchError(
            f"kubernetes: whether the network is closed cannot be seen from inside: {said}; name an"
            " address that the policy closes, with network_probe=HOST:PORT"
        )
    # An open network may be slow, too: only a silence is believed that is longer than that.
    silence = min(max(_LEAST, _SLOWER * (time.monotonic() - began)), _MOST)
    name = pod["metadata"]["name"]
    if network == NONE:
        kubectl.run("create", "-f", "-", data=json.dumps(_nothing(pod)).encode())
    else:
        kubectl.run("get", "networkpolicy", network, "-o", "name")
        kubectl.run("label", "pod", name, f"{NETWORK}={network}")
    # Where nothing is let out, a name is not resolved; else that says nothing of the address.
    closed = ("silent", "unreachable", *(("unresolved",) if network == NONE else ()))
    deadline, never = time.monotonic() + _TO_HOLD, threading.Event()
    while (found := _reach(place, address, silence)) not in closed:
        if time.monotonic() > deadline:
            raise _unproven(network, found)
        never.wait(_LOOK_AGAIN)


def _unproven(network: str, found: str) -> LaunchError:
    """Return the error of a policy of which nobody can say that it holds."""
    said = _SAID.get(found, found)
    if found in _REACHED:
        return LaunchError(
            f"kubernetes: the network policy {network} does not hold: what it closes is tried from"
            f" inside the pod, and {said}; does the cluster's network enforce policies?"
        )
    return LaunchError(
        f"kubernetes: whether the network policy {network} holds cannot be seen from inside:"
        f" {said}; name an address in digits that it closes, with network_probe=HOST:PORT"
    )


def _reach(place: Environment, address: str, patience: float) -> str:
    """Return what comes of a connection from inside, a word or why none can be tried.

    Args:
        patience: seconds for an answer.
    """
    host, _, port = address.rpartition(":")
    words = ["sh", "-c", _REACH, "reach", host, port, f"{patience:.0f}"]
    return place.run(words).decode("utf-8", "replace").strip()


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
