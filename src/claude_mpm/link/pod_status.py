"""What a pod's status says: what it waits for, and how it ended."""

from __future__ import annotations

from typing import Any

# What a container that does not start may be waiting for, and the mend; no waiting helps.
_HOPELESS = {
    "ErrImageNeverPull": "the node has no such image, and may not pull it; change `pull`",
    "ImagePullBackOff": "the image cannot be pulled; check `image` and `pull_secrets`",
    "InvalidImageName": "that is no name of an image; check `image`",
    "CreateContainerConfigError": "something that the pod names is missing; check `template`",
    "CreateContainerError": "the container cannot be made; check `template`",
    "RunContainerError": "the container cannot be started; check that the image has `sh`",
}
_LONGEST = 300  # characters of somebody else's message


def is_gone(pod: dict[str, Any]) -> bool:
    """Return whether nothing of a pod runs any more, by its node's own account."""
    return _status(pod).get("phase") in ("Succeeded", "Failed")


def runs(pod: dict[str, Any]) -> bool:
    """Return whether a pod's container runs."""
    return _status(pod).get("phase") == "Running" and any(
        "running" in each for each in _states(pod)
    )


def waits_for(pod: dict[str, Any]) -> tuple[str, bool]:
    """Return what a pod that does not run waits for, with its mend, and whether that is vain."""
    for state in _states(pod):
        waiting = state.get("waiting") or {}
        reason = str(waiting.get("reason", ""))
        if reason in _HOPELESS:
            said = _short(waiting.get("message"))
            return f"{_HOPELESS[reason]} ({reason}{': ' if said else ''}{said})", True
        if reason == "ErrImagePull":
            return f"the image is not pulled yet: {_short(waiting.get('message'))}", False
    for condition in _status(pod).get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            said = _short(condition.get("message"))
            if condition.get("reason") == "SchedulingGated":
                return f"it waits to be admitted, as by Kueue: {said}", False
            return f"no node takes it: {said}; ask for less with cpu and memory, or wait", False
    return "its container is being made", False


def trouble(pod: dict[str, Any]) -> str:
    """Return what the cluster says of a pod that is about to go, or of its silent node."""
    return ", ".join(_reasons(pod))


def fate(pod: dict[str, Any]) -> str:
    """Return in one line the state of a pod, as its status says."""
    said = _reasons(pod)
    if (pod.get("metadata") or {}).get("deletionTimestamp"):
        said.append("it was deleted")  # and its first process ended as it was asked to
    for state in _states(pod):
        ended = state.get("terminated") or {}
        if ended.get("reason") == "OOMKilled":
            said.append("the container ran out of memory; give it more")
        elif ended:
            said.append(f"the container ended with status {ended.get('exitCode')}")
            said.append(_short(ended.get("reason")))
    phase = str(_status(pod).get("phase", "unknown"))
    return f"it is {phase}: {', '.join(filter(None, said)) or 'nobody says why'}"


def _reasons(pod: dict[str, Any]) -> list[str]:
    """Return what the cluster itself has to say of why a pod goes, without what is said twice."""
    status = _status(pod)
    said = [_short(status.get("reason")), _short(status.get("message"))]
    for condition in status.get("conditions") or []:
        known = condition.get("type") == "DisruptionTarget" and condition.get("status") == "True"
        if known or condition.get("reason") == "NodeStatusUnknown":
            said += [_short(condition.get("reason")), _short(condition.get("message"))]
    return [*filter(None, dict.fromkeys(said))]


def _status(pod: dict[str, Any]) -> dict[str, Any]:
    return pod.get("status") or {}


def _states(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [each.get("state") or {} for each in _status(pod).get("containerStatuses") or []]


def _short(text: object) -> str:
    words = " ".join(str(text or "").split())
    return words if len(words) <= _LONGEST else words[:_LONGEST] + "…"
