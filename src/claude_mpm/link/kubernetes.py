"""A far session in a pod: what becomes of the pod is found out, and the record is mirrored."""

from __future__ import annotations

import re
import select
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.errors import LaunchError
from claude_mpm.link.far import FarFailed, FarState, LinkCut
from claude_mpm.link.kubectl import Kubectl, KubectlRefused
from claude_mpm.link.pod_status import fate, is_gone, trouble
from claude_mpm.link.shell import ShellFar, ShellSpec, ShellStream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from claude_mpm.journal.layout import SessionFolder

_TURN_ENDED = re.compile(rb'"type":"result"|"state":"idle"')
_LONGEST_MARK = 16  # bytes
# The record of a conversation, and those of its subagents; nothing else is written here.
_RECORD = re.compile(r"[\w-]{1,255}/[\w-]{1,64}(/subagents/[\w-]{1,128})?\.jsonl", re.ASCII)
_LARGEST = 1 << 28  # bytes of one record
_MOST = 1000  # records
_REFUSALS = ("NotFound", "Forbidden", "Unauthorized", "NoContext", "NoNamespace", "NoKubectl")


class PodSpec(ShellSpec, frozen=True, kw_only=True):
    """How a session in a pod is reached.

    Args:
        kubectl: the command, context and namespace.
        pod, uid: which pod; another one may have taken its name.
        owned: whether it was made for the session, and is deleted with it.
    """

    kubectl: Kubectl
    pod: str
    uid: str
    owned: bool


def open_far(spec: dict[str, Any], folder: SessionFolder) -> PodFar:
    """Return the far session that a link's file tells of."""
    return PodFar(msgspec.convert(spec, PodSpec), folder)


class PodFar(ShellFar):
    """As any that is reached by a command; where none works, the pod's status says why.

    Args:
        spec: how it is reached.
        folder: the session's folder on this machine.
    """

    def __init__(self, spec: PodSpec, folder: SessionFolder) -> None:
        super().__init__(spec, folder)
        self._of_pod = spec
        self._records = folder.records
        self._trouble = ""  # what the cluster said of the pod, when it was there last

    def start(self) -> None:
        """Lay the folder and start its host."""
        with self._explained():
            super().start()

    def state(self) -> FarState:
        """Return what the far folder says."""
        with self._explained():
            state = super().state()
        if state.exit is not None or state.dead:
            self.mirror()
        return state

    def follow(self, offset: int) -> PodStream:
        """Read the far journal from a byte on, and mirror the record at the end of each turn."""
        return PodStream(self, self._spec.far, offset)

    def mirror(self) -> None:
        """Bring here what was added to Claude's record of the conversation.

        Raises:
            LinkCut: it did not come whole; what came is kept, and the next time goes on there.
        """
        if not self._of_pod.config:
            return
        listed = self._ask("records").decode("utf-8", "replace").splitlines()
        for line in listed[:_MOST]:
            size, _, name = line.partition(" ")
            if _RECORD.fullmatch(name) and size.isdigit() and len(size) < 12:
                self._bring(name, min(int(size), _LARGEST))

    def remove(self) -> None:
        """Remove the far folder, and the pod that was made for it, once no other machine reads."""
        kept = bool(self._spec.reader)  # unless told otherwise, who made the pod deletes it
        try:
            kept = not self._leave()
        finally:
            if not kept:
                self._delete()

    def _bring(self, name: str, size: int) -> None:
        file: Path = self._records / name
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        here = file.stat().st_size if file.exists() else 0
        if here >= size:
            return
        with file.open("ab") as record:
            for piece in self.fetch(f"records/{name}", here):
                record.write(piece)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Look at the pod where the far side fails; delete one of ours where it refuses."""
        try:
            yield
        except LinkCut:
            self._look_at_pod()
            raise
        except FarFailed:
            self._look_at_pod()
            if not self._spec.reader:
                self._delete()  # nothing of the session is in there
            raise

    def _look_at_pod(self) -> None:
        """Find out whether a pod that does not answer is there at all.

        Raises:
            FarFailed: it is not; with what its status says.
        """
        spec = self._of_pod
        try:
            pod = spec.kubectl.pod(spec.pod)
        except KubectlRefused as error:
            if error.reason == "NotFound":
                why = f" ({self._trouble})" if self._trouble else ""
                raise self._lost(f"is gone: it was deleted{why}") from error
            if error.reason in _REFUSALS:
                raise LinkCut(str(error)) from error
            return
        if pod["metadata"]["uid"] != spec.uid:
            raise self._lost("is gone: another one has its name")
        if is_gone(pod):
            if not self._spec.reader:
                self._delete()
            raise self._lost(f"was lost: {fate(pod)}")
        self._trouble = trouble(pod)
        if self._trouble:
            raise LinkCut(f"the pod {spec.pod}: {self._trouble}")

    def _lost(self, how: str) -> FarFailed:
        """Note the state of the pod where the verdict looks for its evidence."""
        reason = f"the pod {self._of_pod.pod} {how}"
        self._folder.errors.append(f"{reason}\n".encode())
        return FarFailed(reason)

    def _delete(self) -> None:
        """Delete the session's own pod; the cluster's deadline ends one that cannot be reached."""
        spec = self._of_pod
        if not spec.owned:
            return
        namespace = spec.kubectl.namespace
        with suppress(LaunchError):
            spec.kubectl.delete(
                {"metadata": {"name": spec.pod, "uid": spec.uid, "namespace": namespace}}
            )


class PodStream(ShellStream):
    """A far journal; at the end of each turn, the record of the conversation is mirrored."""

    def __init__(self, far: PodFar, command: list[str], offset: int) -> None:
        self._far = far
        self._last = b""
        self._due = False
        super().__init__(command, offset)

    def read(self) -> bytes | None:
        """Return the next bytes; None where there are none yet, empty at the end."""
        piece = super().read()
        if piece:
            self._due = bool(_TURN_ENDED.search(self._last + piece)) or self._due
            self._last = piece[-_LONGEST_MARK:]
        if self._due and not select.select([self], [], [], 0)[0]:
            self._far.mirror()
        return piece

    def beat(self) -> None:
        """Tell the far side that we are still there; what Claude has recorded since is mirrored."""
        super().beat()
        if self._due:
            self._far.mirror()
            self._due = False
