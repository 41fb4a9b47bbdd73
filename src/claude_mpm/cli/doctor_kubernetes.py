"""What `claude-mpm doctor` looks at where sessions run in pods, and the pods that it sweeps."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from claude_mpm.cli.doctor_checks import Check
from claude_mpm.environments.kubernetes import Kubernetes
from claude_mpm.environments.pod import MANAGED, SESSION, owner_of
from claude_mpm.errors import MPMError, StorageError
from claude_mpm.link.kubectl import Kubectl, KubectlRefused, parsed
from claude_mpm.orchestration.place_settings import take_place_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.sessions.store import Store

NAME = "kubernetes"
# What a session needs; the last is for clusters older than 1.35, whose kubectl asks for it.
_NEEDED = (
    *(("create", "pods"), ("get", "pods"), ("list", "pods"), ("delete", "pods")),
    *(("create", "pods/exec"), ("get", "pods/exec")),
)


def check_kubernetes(options: Mapping[str, Any]) -> Iterator[Check]:
    """Whether the cluster answers, what may be done there, and whether a pod has what is needed.

    Args:
        options: what the place is made with, as on the command line.
    """
    try:
        place = Kubernetes(**take_place_settings(Kubernetes, dict(options)))
    except MPMError as error:
        yield Check(NAME, "note", str(error))
        return
    kubectl = place.kubectl
    try:
        kubectl.run("get", "pods", "-o", "name")
    except KubectlRefused as error:
        yield Check(NAME, "problem", str(error), _remedy(kubectl, "get", "pods"))
        return
    yield Check(NAME, "ok", f"the API server answers {shlex.join(kubectl.words)}")
    forbidden = [f"{verb} {what}" for verb, what in _NEEDED if not _may(kubectl, verb, what)]
    if forbidden:
        found = f"this user may not: {', '.join(forbidden)}; docs/kubernetes.md has the role"
        yield Check(NAME, "problem", found, _remedy(kubectl, "auth", "can-i", "--list"))
        return
    yield Check(NAME, "ok", "all verbs that a session needs are allowed")
    try:
        found = place.check_pod()
    except MPMError as error:
        yield Check(NAME, "problem", str(error))
        return
    yield Check(NAME, "ok", found)


def _remedy(kubectl: Kubectl, *words: str) -> str:
    return shlex.join([*kubectl.words, *words])


def _may(kubectl: Kubectl, verb: str, what: str) -> bool:
    try:
        return kubectl.run("auth", "can-i", verb, what).strip() == "yes"
    except KubectlRefused:  # it answers "no" with a status of 1
        return False


def sweep_pods(store: Store) -> Iterator[str]:
    """Delete pods of sessions of this store that have ended or are gone; yield their names."""
    places = {}
    for folder in store.sessions():
        try:
            meta = folder.read_meta()
        except StorageError:
            continue  # nobody can tell where it ran; the check of sessions names it
        if meta.environment == NAME:
            given = {each: str(meta.place.get(each, "")) for each in ("context", "namespace")}
            command = tuple(shlex.split(str(meta.place.get("kubectl", "kubectl"))))
            places[command, *given.values()] = Kubectl(command=command, **given)
    owner = owner_of(store.path)
    for kubectl in places.values():
        pods = _pods(kubectl)
        # Listed after the pods: a new session has its folder before its pod.
        known = {folder.path.name: folder for folder in store.sessions()}
        for pod in pods:
            notes = pod["metadata"].get("annotations") or {}
            session = str(notes.get(SESSION, ""))
            if notes.get(MANAGED) == owner and _is_over(known.get(session)):
                kubectl.delete(pod)
                yield session


def _pods(kubectl: Kubectl) -> list[dict[str, Any]]:
    try:
        label = "app.kubernetes.io/managed-by=claude-mpm"
        found: list[dict[str, Any]] = parsed(
            kubectl.run("get", "pods", "-l", label, "-o", "json")
        ).get("items", [])
    except KubectlRefused:
        return []  # the check says why
    return found


def _is_over(folder: SessionFolder | None) -> bool:
    """Return whether a session has ended, or has no folder any more."""
    return folder is None or folder.exit_status() is not None or folder.has_ended()
