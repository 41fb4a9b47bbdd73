"""A pod for one session: what it is made of, how it comes up, and how an earlier one goes."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import socket
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.errors import LaunchError, UsageError
from claude_mpm.journal.folder_watch import Subscription, subscribe
from claude_mpm.link.kubectl import Kubectl, KubectlRefused, parsed
from claude_mpm.link.pod_status import fate, is_gone, runs, trouble, waits_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_mpm.journal.layout import SessionFolder

LABEL = "claude-mpm/session"
MANAGED, SESSION = "claude-mpm/state-folder", "claude-mpm/session-id"  # annotations
CONTAINER = "claude"
SECRETS = "/run/claude-mpm"  # in memory
_KEPT = "/session"  # on the node's disk, or the claim
WORK, CONFIG = f"{_KEPT}/work", f"{_KEPT}/claude"
_HOME = "/tmp/home"
_STATE = f"{_HOME}/.local/state"
_USER = 1000
DEADLINE = 86_400  # seconds
_LOOK_AGAIN, _LOOK_RARELY = 0.5, 5.0  # seconds
_LONGEST_NAME = 63
# The pod's first process: it reaps, and ends once there has been no session for some time.
_HOLD = f"""mkdir -p "$HOME"
trap 'exit 0' TERM
idle=0
while [ "$idle" -lt 300 ]; do
    sleep 5 &
    wait $!
    set -- {_STATE}/claude-mpm/far/*/*/
    if [ -d "$1" ]; then idle=0; else idle=$((idle + 5)); fi
done"""
_logger = logging.getLogger("claude_mpm.kubernetes")


class PodRecipe(msgspec.Struct, frozen=True, kw_only=True):
    """What a new pod is made of; empty texts are left to the cluster.

    Args:
        image, pull, pull_secrets, cpu, memory, node_selector, runtime_class, service_account: as
            the options of the place, and so are the next ones.
        labels, claim, deadline: likewise.
        template: what is merged over the rest.
    """

    image: str
    pull: str = ""
    pull_secrets: tuple[str, ...] = ()
    cpu: str = ""
    memory: str = ""
    node_selector: dict[str, str] = {}
    runtime_class: str = ""
    service_account: str = ""
    labels: dict[str, str] = {}
    claim: str = ""
    deadline: int = DEADLINE
    template: dict[str, Any] = {}

    def manifest(self, session: str, owner: str) -> dict[str, Any]:
        """Return the pod of a session.

        Args:
            owner: a word for the state folder that the session is kept in.
        """
        spec = {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": self.deadline,
            "terminationGracePeriodSeconds": 5,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                **dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"), _USER),
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "serviceAccountName": self.service_account,
            "runtimeClassName": self.runtime_class,
            "nodeSelector": self.node_selector,
            "imagePullSecrets": [{"name": name} for name in self.pull_secrets],
            "containers": [self._container()],
            "volumes": [
                {"name": "tmp", "emptyDir": {}},
                {"name": "secrets", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
                {"name": "session", **self._kept()},
            ],
        }
        made = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": self._metadata(session, owner),
            "spec": {name: value for name, value in spec.items() if value not in ("", {}, [])},
        }
        pod: dict[str, Any] = merged(made, self.template)
        return pod

    def _metadata(self, session: str, owner: str) -> dict[str, Any]:
        name = pod_name(session)
        labels = {"app.kubernetes.io/managed-by": "claude-mpm", LABEL: name, **self.labels}
        notes = {MANAGED: owner, SESSION: session}
        return {"name": name, "labels": labels, "annotations": notes}

    def _kept(self) -> dict[str, Any]:
        if self.claim:
            return {"persistentVolumeClaim": {"claimName": self.claim}}
        return {"emptyDir": {}}

    def _container(self) -> dict[str, Any]:
        amounts = {"cpu": self.cpu, "memory": self.memory}
        amounts = {name: amount for name, amount in amounts.items() if amount}
        mounts = {"tmp": "/tmp", "secrets": SECRETS, "session": _KEPT}
        environ = {"HOME": _HOME, "XDG_STATE_HOME": _STATE, "CLAUDE_CONFIG_DIR": CONFIG}
        return {
            "name": CONTAINER,
            "image": self.image,
            **({"imagePullPolicy": self.pull} if self.pull else {}),
            "command": ["sh", "-c", _HOLD],
            "env": [{"name": name, "value": value} for name, value in environ.items()],
            "resources": {"requests": amounts, "limits": amounts},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [{"name": name, "mountPath": path} for name, path in mounts.items()],
        }


def owner_of(state: Path) -> str:
    """Return a word that tells a state folder from others, and does not say where it is."""
    where = f"{socket.gethostname()}\0{state.resolve()}"
    return hashlib.sha256(where.encode()).hexdigest()[:32]


def pod_name(session: str) -> str:
    """Return the name of a session's pod: one name for one session, so that there is one pod."""
    name = "claude-mpm-" + re.sub(r"[^a-z0-9]+", "-", session.lower()).strip("-")
    if name == f"claude-mpm-{session}" and len(name) <= _LONGEST_NAME:
        return name
    mark = hashlib.sha256(session.encode()).hexdigest()[:8]
    return f"{name[: _LONGEST_NAME - 9].rstrip('-')}-{mark}"


def read_template(path: str) -> dict[str, Any]:
    """Return what a pod template file has, in YAML or JSON: a Pod, or a PodTemplateSpec.

    Raises:
        UsageError: it cannot be read, or is something else.
    """
    if not path:
        return {}
    import yaml

    try:
        found = yaml.safe_load(Path(path).expanduser().read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"kubernetes: the template {path} cannot be read: {reason}") from error
    if isinstance(found, dict) and isinstance(found.get("spec"), dict):
        metadata = found.get("metadata") or {}
        kept = {name: metadata[name] for name in ("labels", "annotations") if name in metadata}
        return {"metadata": kept, "spec": found["spec"]}
    raise UsageError(f"kubernetes: the template {path} is no pod: it has no `spec`")


def merged(ours: Any, theirs: Any) -> Any:
    """Return what is ours with what is theirs over it; what has a name is merged by name."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        both = {name: merged(value, theirs.get(name, value)) for name, value in ours.items()}
        return {**theirs, **both}
    if isinstance(ours, list) and isinstance(theirs, list):
        named = {_key(each): each for each in ours}
        for each in theirs:
            named[_key(each)] = merged(named.get(_key(each), each), each)
        return list(named.values())
    return theirs


def _key(item: Any) -> str:
    """Return what an item of a list is known by."""
    if isinstance(item, dict):
        return str(item.get("mountPath") or item.get("name") or json.dumps(item, sort_keys=True))
    return str(item)


def make_pod(
    kubectl: Kubectl, manifest: dict[str, Any], wait: float, folder: SessionFolder | None = None
) -> dict[str, Any]:
    """Make a pod, once an earlier one of its session is gone; return it when it runs.

    Args:
        wait: seconds that it may wait for a node, and that an earlier one may take to go.
        folder: of its session, which may be stopped meanwhile; None for no session.

    Raises:
        LaunchError: it does not run; it is deleted again.
    """
    watch = _Watch(kubectl, time.monotonic() + wait, folder)
    data = json.dumps(manifest).encode()
    while True:
        try:
            made = parsed(kubectl.run("create", "-f", "-", "-o", "json", data=data))
            break
        except KubectlRefused as error:
            if error.reason != "AlreadyExists":
                raise
        annotations = manifest["metadata"]["annotations"]
        if found := _earlier(kubectl, manifest["metadata"]["name"], annotations[MANAGED]):
            watch.until(found, _has_gone)
    try:
        return watch.until(made, _has_come_up)
    except BaseException:
        kubectl.delete(made)
        raise


def delete_earlier(kubectl: Kubectl, session: str, owner: str) -> bool:
    """Delete the pod of a session, if there is one; return whether there was.

    Raises:
        LaunchError: it is another state folder's, or is not deleted.
    """
    return _earlier(kubectl, pod_name(session), owner) is not None


def _earlier(kubectl: Kubectl, name: str, owner: str) -> dict[str, Any] | None:
    """Delete an earlier pod of a session, and return it; None where there is none."""
    try:
        found = kubectl.pod(name)
    except KubectlRefused as error:
        if error.reason == "NotFound":
            return None
        raise
    if (found["metadata"].get("annotations") or {}).get(MANAGED) != owner:
        raise LaunchError(
            f"kubernetes: the pod {name} is there, and another state folder's; give the session"
            f" another name, or delete it: kubectl delete pod {name}"
        )
    if not found["metadata"].get("deletionTimestamp"):
        kubectl.delete(found)
    return found


class _Watch:
    """Looks at a pod until something has happened to it.

    Args:
        deadline: when it is given up, by the monotonic clock.
        folder: of the session, which may be stopped meanwhile; None for no session.
    """

    def __init__(self, kubectl: Kubectl, deadline: float, folder: SessionFolder | None) -> None:
        self._kubectl = kubectl
        self._deadline = deadline
        self._folder = folder

    def until(
        self, pod: dict[str, Any], happened: Callable[[dict[str, Any] | None], str]
    ) -> dict[str, Any]:
        """Return the pod once something has happened; log what it waits for when that changes.

        Raises:
            LaunchError: it has not in time, or never will, or the session was stopped.
        """
        if self._folder is None:
            return self._until(pod, happened, Subscription())
        with closing(subscribe(self._folder.path)) as changes:
            return self._until(pod, happened, changes)

    def _until(
        self,
        pod: dict[str, Any],
        happened: Callable[[dict[str, Any] | None], str],
        changes: Subscription,
    ) -> dict[str, Any]:
        name, told, since = pod["metadata"]["name"], "", time.monotonic()
        while True:
            found, waiting = self._state(pod, happened)
            if not waiting:
                return found or pod
            if waiting != told:
                told, since = waiting, time.monotonic()
                _logger.warning("kubernetes: pod %s: %s", name, waiting)
            if time.monotonic() > self._deadline:
                raise LaunchError(f"kubernetes: pod {name}: {waiting} (waited in vain; see `wait`)")
            self._pause(changes, _pause(time.monotonic() - since))

    def _state(
        self, pod: dict[str, Any], happened: Callable[[dict[str, Any] | None], str]
    ) -> tuple[dict[str, Any] | None, str]:
        """Return the pod, and what it waits for; empty where something has happened."""
        try:
            found = _look(self._kubectl, pod["metadata"]["name"], pod["metadata"]["uid"])
        except KubectlRefused as error:
            if error.reason != "Unreachable":
                raise
            return None, str(error).removeprefix("kubernetes: ")  # it is there again before long
        return found, happened(found)

    def _pause(self, changes: Subscription, seconds: float) -> None:
        """Wait, unless the session is stopped meanwhile."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self._folder is not None:
                self._folder.check_start()
            changes.wait(left)


def _pause(waited: float) -> float:
    """Return how long to wait before the next look: each is a process, and many may wait."""
    return min(max(_LOOK_AGAIN, waited / 4), _LOOK_RARELY)


def _look(kubectl: Kubectl, name: str, uid: str) -> dict[str, Any] | None:
    """Return a pod; None where it is gone, also where another has its name."""
    try:
        found = kubectl.pod(name)
    except KubectlRefused as error:
        if error.reason == "NotFound":
            return None
        raise
    return found if found["metadata"]["uid"] == uid else None


def _has_come_up(pod: dict[str, Any] | None) -> str:
    if pod is None:
        raise LaunchError("kubernetes: the pod was deleted before it ran; start the session again")
    name = pod["metadata"]["name"]
    if is_gone(pod):
        raise LaunchError(f"kubernetes: pod {name} ended before it ran: {fate(pod)}")
    if runs(pod):
        return ""
    waiting, vain = waits_for(pod)
    if vain:
        raise LaunchError(f"kubernetes: pod {name}: {waiting}")
    return waiting


def _has_gone(pod: dict[str, Any] | None) -> str:
    if pod is None:
        return ""
    said = trouble(pod)
    return "the session's earlier pod is not gone yet" + (
        f" ({said}); while its node is silent nobody knows whether Claude works there still, so it"
        " is not removed by force: bring the node back, or remove it from the cluster"
        if said
        else ""
    )
