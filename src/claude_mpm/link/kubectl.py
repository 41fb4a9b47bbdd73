"""The user's own `kubectl`, and what it says in one line with its mend."""

from __future__ import annotations

import json
import os
import re
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.errors import LaunchError
from claude_mpm.link.answer import last_line

if TYPE_CHECKING:
    from collections.abc import Sequence

_PATIENCE = 30.0  # seconds for one answer of the API server
_REASON = re.compile(r"Error from server \((\w+)\)")
_FORBIDDEN = re.compile(
    r'cannot (?P<verb>\w+) resource "(?P<what>[^"]+)" in API group "[^"]*"'
    r'(?: in the namespace "(?P<where>[^"]+)")?'
)
# What kubectl says, and what to do about it; the first that fits counts.
_ADVICE = (
    (
        r'context "?([^"\s]+)"? does not exist|context was not found for specified context: (\S+)',
        "NoContext",
        "there is no such context: {said}; `kubectl config get-contexts` lists those there are",
    ),
    (
        r"exceeded quota",
        "Quota",
        "the namespace's quota does not allow the pod: {said}; ask for less with cpu and memory,"
        " or end other sessions",
    ),
    (
        r"violates PodSecurity|admission webhook|denied the request",
        "Admission",
        "the cluster refused to admit the pod: {said}; change the pod with the option `template`,"
        " or ask who runs the cluster",
    ),
    (
        r"namespaces? \"([^\"]+)\" not found",
        "NoNamespace",
        "{said}; make it (kubectl create namespace NAME), or name another with `namespace`",
    ),
    (
        r"You must be logged in|Unauthorized|provide credentials|getting credentials",
        "Unauthorized",
        "kubectl is not logged in: {said}; log in as for any other kubectl command",
    ),
    (
        r"connection to the server .* refused|Unable to connect|i/o timeout|no such host"
        r"|TLS handshake timeout|EOF$|connection reset",
        "Unreachable",
        "the API server does not answer: {said}; does `kubectl get pods` work?",
    ),
)


class KubectlRefused(LaunchError):
    """Something that kubectl did not do.

    Args:
        message: what it says, with its mend.
        reason: the API's word for it, as "NotFound", or one of ours.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Kubectl(msgspec.Struct, frozen=True, kw_only=True):
    """Runs `kubectl` with the user's configuration, log-in and proxies.

    Args:
        command: its words.
        context: of the configuration; the current one where it is empty.
        namespace: the context's where it is empty.
        kubeconfig: the file of the configuration; kubectl's own choice where it is empty.
    """

    command: tuple[str, ...] = ("kubectl",)
    context: str = ""
    namespace: str = ""
    kubeconfig: str = ""

    @property
    def words(self) -> list[str]:
        """The beginning of each command."""
        words = [*self.command]
        words += ["--kubeconfig", self.kubeconfig] if self.kubeconfig else []
        words += ["--context", self.context] if self.context else []
        return words + (["--namespace", self.namespace] if self.namespace else [])

    def pinned(self, namespace: str) -> Kubectl:
        """Return what goes on to mean this cluster, whichever becomes the current one."""
        context, files = self.context, os.environ.get("KUBECONFIG", "")
        if not context:
            with suppress(KubectlRefused):  # in a pod of the cluster, there may be no configuration
                context = self.run("config", "current-context").strip()
        kubeconfig = self.kubeconfig or ("" if os.pathsep in files else files)
        return msgspec.structs.replace(
            self, context=context, namespace=namespace, kubeconfig=kubeconfig
        )

    def execute(self, pod: str, container: str, argv: Sequence[str]) -> list[str]:
        """Return the command that runs `argv` in a pod."""
        words = [*self.words, "exec", "-i", pod]
        words += ["--container", container] if container else []
        return [*words, "--", *argv]

    def run(self, *words: str, data: bytes = b"", timeout: float = _PATIENCE) -> str:
        """Run a command and return what it prints.

        Args:
            data: its standard input.
            timeout: seconds that it may take.

        Raises:
            KubectlRefused: it failed; the message says what to do.
        """
        command = [*self.words, *words]
        try:
            done = subprocess.run(
                command, input=data, capture_output=True, timeout=timeout, check=False
            )
        except FileNotFoundError as error:
            raise KubectlRefused(
                f"kubernetes: there is no command {command[0]}; install kubectl,"
                " or name it with the option `kubectl`",
                "NoKubectl",
            ) from error
        except subprocess.TimeoutExpired as error:
            raise KubectlRefused(
                f"kubernetes: kubectl {words[0]} did not answer in {timeout:g} s", "Unreachable"
            ) from error
        if done.returncode:
            raise explained(last_line(done.stderr, done.stdout))
        return done.stdout.decode("utf-8", "replace")

    def pod(self, name: str) -> dict[str, Any]:
        """Return a pod.

        Raises:
            KubectlRefused: there is none, or the API server does not say.
        """
        return parsed(self.run("get", "pod", name, "-o", "json"))

    def labelled(self, label: str) -> list[dict[str, Any]]:
        """Return the pods with a label, whatever its value.

        Raises:
            KubectlRefused: the API server does not say.
        """
        items = parsed(self.run("get", "pods", "-l", label, "-o", "json")).get("items")
        return [pod for pod in items or () if isinstance(pod, dict) and pod.get("metadata")]

    def delete(self, pod: dict[str, Any]) -> None:
        """Delete a pod gracefully, and none that has taken its name; one that is gone is no error.

        Raises:
            KubectlRefused: it may not be deleted.
        """
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{name}"
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        try:
            self.run("delete", "--raw", path, "-f", "-", data=json.dumps(options).encode())
        except KubectlRefused as error:
            if error.reason not in ("NotFound", "Conflict"):
                raise


def parsed(text: str) -> dict[str, Any]:
    """Return an object that kubectl has printed.

    Raises:
        KubectlRefused: it printed something else.
    """
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise KubectlRefused("kubernetes: kubectl printed no JSON; is it kubectl?", "Unreachable")
    return found


def explained(said: str) -> KubectlRefused:
    """Return what an error of kubectl's means and what to do next."""
    named = _REASON.search(said)
    reason = named[1] if named else ""
    text = re.sub(r"^(Error from server[^:]*|error): ", "", said) or "kubectl failed"
    for pattern, word, advice in _ADVICE:
        if re.search(pattern, said):
            return KubectlRefused(f"kubernetes: {advice.format(said=text)}", word)
    if found := _FORBIDDEN.search(said):
        where = f" in namespace {found['where']}" if found["where"] else ""
        return KubectlRefused(
            f"kubernetes: this user may not {found['verb']} {found['what']}{where}; the page on"
            " Kubernetes has the role that is needed",
            "Forbidden",
        )
    return KubectlRefused(f"kubernetes: {text}", reason)
