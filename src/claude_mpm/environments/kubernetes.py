"""A pod of a Kubernetes cluster: a new one for each session, or one that runs already."""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.environments.base import Environment
from claude_mpm.environments.engine import words_of
from claude_mpm.environments.far_sessions import MOST, Listed
from claude_mpm.environments.linked import probe, start_linked
from claude_mpm.environments.pod import (
    CONFIG,
    CONTAINER,
    DEADLINE,
    LABEL,
    SECRETS,
    WORK,
    PodRecipe,
    delete_earlier,
    make_pod,
    owner_of,
    read_template,
)
from claude_mpm.environments.pod_network import check_address, restrict
from claude_mpm.environments.record_store import restore
from claude_mpm.environments.variables import checked
from claude_mpm.errors import LaunchError, UsageError
from claude_mpm.link.kubectl import Kubectl
from claude_mpm.link.pod_status import runs, waits_for
from claude_mpm.validation import NOT_JSON

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from claude_mpm.environments.far_sessions import FarSession
    from claude_mpm.environments.order import Order
    from claude_mpm.environments.record_store import RecordStore
    from claude_mpm.journal.layout import SessionFolder

_UNSET = {"network": "", **msgspec.structs.asdict(PodRecipe(image=""))}
_PULL = ("", "Always", "IfNotPresent", "Never")
_WAIT = 600.0  # seconds
_AT_ONCE = 8  # pods that are asked side by side
_logger = logging.getLogger("claude_mpm.kubernetes")


class _Made(msgspec.Struct, frozen=True):
    """What a session's own record says of its pod."""

    pod: str
    kubectl: Kubectl


class Kubernetes(Environment):
    """Runs Claude in a pod, by the user's own `kubectl`.

    A new pod keeps to the restricted pod security standard: its user is not root, it has no
    capability and gets none, its root file system is read-only, and it has no token of a service
    account. It is named by the session, so that the API server lets there be one, and is deleted
    when Claude has ended. Arguments of the new pod alone are marked with *.

    Args:
        image: * the image; it has `sh`, the usual small commands and Claude Code.
        pod: a pod that runs, in place of a new one.
        container: which of that pod's containers; its first by default.
        namespace, context: as kubectl takes them; those of its configuration by default.
        pull: * when the image is pulled: "Always", "IfNotPresent" or "Never".
        pull_secrets: * names of secrets for that.
        cpu, memory: * what the pod requests and may use at most, as in "500m" and "2Gi".
        node_selector: * labels that its node must have, as in "disk=ssd".
        runtime_class: * such as "gvisor".
        service_account: * whose policies apply; the pod gets no token of it.
        labels: * further labels, such as "kueue.x-k8s.io/queue-name=agents".
        claim: * a volume claim that keeps the folder to work in and the conversation.
        network: * "none" for a network policy that lets nothing out, or the name of one of the
            namespace that selects pods with the label claude-mpm/network=NAME.
        network_probe: * what the policy closes, "HOST:PORT"; the API server's address by default.
        template: * a file with a pod, merged over the one that is made here.
        deadline: * seconds after which the cluster ends the pod, whatever happens here.
        wait: * seconds that the pod may wait for a node, and an earlier one may take to go.
        variables: what else Claude gets as environment.
        kubectl: the command.

    Attributes:
        kubectl: what runs its commands.
    """

    name = "kubernetes"

    def __init__(
        self,
        image: str = "",
        *,
        pod: str = "",
        container: str = "",
        namespace: str = "",
        context: str = "",
        pull: str = "",
        pull_secrets: str | Sequence[str] = (),
        cpu: str | float = "",
        memory: str | int = "",
        node_selector: str | Sequence[str] = (),
        runtime_class: str = "",
        service_account: str = "",
        labels: str | Sequence[str] = (),
        claim: str = "",
        network: str = "",
        network_probe: str = "",
        template: str = "",
        deadline: int = DEADLINE,
        wait: float = _WAIT,
        variables: Mapping[str, str] | None = None,
        kubectl: str = "kubectl",
    ) -> None:
        self._pod, self._container = pod, container
        self._wait, self._network = float(wait), (network, network_probe)
        self._variables = checked(variables or {}, self.name)
        self.kubectl = Kubectl(
            command=tuple(words_of(kubectl)), context=context, namespace=namespace
        )
        amounts = {"cpu": str(cpu), "memory": str(memory), "deadline": int(deadline)}
        pulls = {"image": image, "pull": pull, "pull_secrets": tuple(words_of(pull_secrets))}
        goes = {"labels": _pairs("labels", labels), "runtime_class": runtime_class}
        goes["node_selector"] = _pairs("node_selector", node_selector)
        has = {"service_account": service_account, "claim": claim}
        made: dict[str, Any] = {**amounts, **pulls, **goes, **has}
        self._recipe = PodRecipe(template=read_template(template), **made)
        self.keeps_files = bool(pod)
        self._check()

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs `argv` in the pod.

        Raises:
            LaunchError: there is none yet; each session gets its own.
        """
        if not self._pod:
            raise LaunchError("kubernetes: there is no pod before a session has started")
        return self.kubectl.execute(self._pod, self._container, argv)

    def wrap_in(self, folder: SessionFolder, argv: Sequence[str]) -> list[str]:
        """Return the command that runs `argv` in the pod of a session.

        Raises:
            LaunchError: nobody knows which pod that is.
        """
        if self._pod:
            return self.wrap(argv)
        try:
            made = msgspec.json.decode(folder.link_file.read_bytes(), type=_Made)
        except (FileNotFoundError, *NOT_JSON) as error:
            raise LaunchError(
                f"kubernetes: nobody knows which pod is session {folder.path.name}'s"
            ) from error
        return made.kubectl.execute(made.pod, CONTAINER, argv)

    def reach(self) -> None:
        """Make sure that the cluster answers.

        Raises:
            LaunchError: it does not.
        """
        self.kubectl.run("auth", "can-i", "create", "pods/exec")

    def working_folder(self, asked: str | None) -> str:
        """Return the folder; by default that of a new pod which a claim keeps."""
        return asked or ("" if self._pod else WORK)

    def environ(self, asked: Mapping[str, str] | None) -> dict[str, str]:
        """Return what is taken along, and the variables that were given to the place."""
        return {**super().environ(asked), **self._variables}

    def expected(self) -> dict[str, str]:
        """Return what the pod says of its name and user; of a new one, once it runs."""
        if not self._pod:
            return {}
        found = self.kubectl.pod(self._pod)
        if not runs(found):
            raise LaunchError(
                f"kubernetes: the pod {self._pod} does not run: {waits_for(found)[0]}"
            )
        return self._host_and_user(f"{self._pod} does not run commands: it said")

    def records(self, folder: SessionFolder, environ: Mapping[str, str]) -> RecordStore:
        """Return where Claude keeps its records: of a new pod, the copy that is kept here."""
        if self._pod:
            return super().records(folder, environ)
        from claude_mpm.environments.record_store import OwnRecords

        return OwnRecords(folder.records, folder.records, folder.record_before)

    def start(self, order: Order) -> Any:
        """Start the host in the pod that there is, or make one for it."""
        if self._pod:
            pod = self.kubectl.pod(self._pod)
            self.kubectl = self.kubectl.pinned(pod["metadata"]["namespace"])
            return self._start_in(pod, order, owned=False)
        manifest = self._recipe.manifest(
            order.folder.path.name, owner_of(order.folder.path.parents[1])
        )
        pod = make_pod(self.kubectl, manifest, self._wait, order.folder)
        try:
            inside = _place_of(pod, self.kubectl)
            if self._network[0]:
                restrict(self.kubectl, inside, pod, *self._network)
            order.folder.expect_place({**inside.make_folders(), **self.expected()})
            restore(inside, order.folder, CONFIG)
            return inside._start_in(pod, order, owned=True)
        except BaseException:
            self.kubectl.delete(pod)
            raise

    def remove_unstarted(self, folder: SessionFolder) -> bool:
        """Delete the pod of a start that was killed before the pod had a session."""
        if self._pod or folder.link_file.exists():
            return False
        return delete_earlier(self.kubectl, folder.path.name, owner_of(folder.path.parents[1]))

    def check_pod(self) -> str:
        """Return what was found of a pod that has all that a session needs; a new one is deleted.

        Raises:
            LaunchError: it does not run, or lacks something.
        """
        if self._pod:
            probe(self, "claude", "")
            return f"the pod {self._pod} has what a session needs"
        session = f"doctor-{os.urandom(4).hex()}"
        manifest = self._recipe.manifest(session, owner_of(Path.cwd()))
        pod = make_pod(self.kubectl, manifest, self._wait)
        try:
            inside = _place_of(pod, self.kubectl)
            inside.make_folders()
            probe(inside, "claude", WORK)
        finally:
            self.kubectl.delete(pod)
        return f"the image {self._recipe.image} has what a session needs"

    def reach_by(self, kubectl: Kubectl) -> None:
        """Reach the cluster by another command."""
        self.kubectl = kubectl

    def make_folders(self) -> dict[str, str]:
        """Make the folders of a new pod, which runs; return what it says of its name and user.

        It is one command, since each takes a tenth of a second and more.
        """
        folders = ["mkdir", "-p", WORK, CONFIG]
        return self._host_and_user(f"{self._pod} does not run commands: it said", folders)

    def _start_in(self, pod: dict[str, Any], order: Order, *, owned: bool) -> Any:
        """Lay the session into a pod that runs, with a link that can tell what becomes of it."""
        further = _link_fields(pod, self.kubectl, owned=owned)
        return start_linked(self, order, secrets=SECRETS if owned else "", further=further)

    def far_sessions(self, end: int) -> Listed:
        """Return the sessions in the pod that there is, or in the pods that were made for one.

        Raises:
            LaunchError: the cluster does not answer.
        """
        if self._pod:
            return super().far_sessions(end)
        pods = self.kubectl.labelled(LABEL)
        running = [pod for pod in pods if runs(pod)]
        # Each thread waits for one pod; they share nothing that changes.
        with ThreadPoolExecutor(_AT_ONCE, "claude-mpm-pods") as pool:
            listed = [*pool.map(partial(self._sessions_in, end=end), running[:MOST])]
        found = [session for each in listed for session in each]
        return Listed(found[:MOST], max(0, len(running) - MOST))

    def _sessions_in(self, pod: dict[str, Any], *, end: int) -> list[FarSession]:
        """Return the sessions in a pod; none where it goes meanwhile."""
        place = _place_of(pod, self.kubectl)
        reach = _link_fields(pod, place.kubectl, owned=True)
        try:
            listed = place.far_sessions(end)
        except LaunchError as error:
            _logger.warning("%s", error)
            return []
        return [msgspec.structs.replace(each, reach=reach) for each in listed.sessions]

    def link_to(self, far: FarSession, reader: str) -> dict[str, Any]:
        """Return the link's file for a session that another machine has started there."""
        if self._pod:
            return super().link_to(far, reader)
        place = Kubernetes(pod=far.reach["pod"], container=CONTAINER)
        place.reach_by(msgspec.convert(far.reach["kubectl"], Kubectl))
        return place.link_to(far, reader)

    def _check(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            UsageError: it cannot.
        """
        recipe = self._recipe
        if bool(recipe.image) == bool(self._pod):
            raise UsageError(
                "kubernetes: name either an image for a new pod, as in -o image=NAME,"
                " or a pod that runs, as in -o pod=NAME"
            )
        network, probed = self._network
        names = (self._pod, self._container, self.kubectl.context, self.kubectl.namespace, network)
        if any(name.startswith("-") for name in names):
            raise UsageError("kubernetes: a name does not begin with a hyphen")
        check_address(network, probed)
        if recipe.pull not in _PULL:
            known = ", ".join(_PULL[1:])
            raise UsageError(f"kubernetes: pull is one of {known}, not {recipe.pull!r}")
        if not self._pod:
            if self._container:
                raise UsageError("kubernetes: container is of a pod that runs; leave it out")
            return
        given = {"network": network, **msgspec.structs.asdict(recipe)}
        for name, value in given.items():
            if value != _UNSET[name]:
                raise UsageError(
                    f"kubernetes: {name} is set when a pod is made, and {self._pod} is there"
                    " already; leave one of the two out"
                )


def _place_of(pod: dict[str, Any], kubectl: Kubectl) -> Kubernetes:
    """Return the place that a pod of a session is."""
    place = Kubernetes(pod=pod["metadata"]["name"], container=CONTAINER)
    place.reach_by(kubectl.pinned(pod["metadata"]["namespace"]))
    return place


def _link_fields(pod: dict[str, Any], kubectl: Kubectl, *, owned: bool) -> dict[str, Any]:
    """Return the fields of the link's file by which a pod is reached.

    Args:
        owned: whether the pod was made for one session, and goes with it.
    """
    return {
        "kind": "kubernetes",
        "kubectl": msgspec.to_builtins(kubectl),
        "pod": pod["metadata"]["name"],
        "uid": pod["metadata"]["uid"],
        "owned": owned,
        "config": CONFIG if owned else "",
    }


def _pairs(option: str, given: str | Sequence[str]) -> dict[str, str]:
    """Read "NAME=VALUE", once or more."""
    found = {}
    for each in [given] if isinstance(given, str) else given:
        name, equals, value = each.partition("=")
        if each and not (name and equals):
            raise UsageError(f"kubernetes: {option} is NAME=VALUE, not {each!r}")
        if each:
            found[name] = value
    return found
