"""A `kubectl` without a cluster: pods are folders, `exec` is a shell here, with faults on purpose.

`install` writes a command `kubectl` that runs this file alone, so that each call starts fast.
It knows what the place `kubernetes` asks for, and answers in the words of kubectl 1.32.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import select
import signal
import subprocess
import sys
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

# What an `exec` may suffer. The first three are cuts, the next what nobody says, the last refusals.
FAULTS = ("short", "endless", "silent", "no half-close", "no status", "403", "409", "410", "down")
_SAYS = {
    "403": 'Error from server (Forbidden): pods "{0}" is forbidden: User "u" cannot create resource'
    ' "pods/exec" in API group "" in the namespace "default"',
    "409": 'Error from server (Conflict): Operation cannot be fulfilled on pods "{0}"',
    "410": "Error from server (Expired): The provided continue parameter is too old",
    "down": "The connection to the server 127.0.0.1:6443 was refused - did you specify the right"
    " host or port?",
}
_NOT_FOUND = 'Error from server (NotFound): pods "{0}" not found'
_EXISTS = (
    'Error from server (AlreadyExists): error when creating "STDIN": pods "{0}" already exists'
)
_VALUED = ("--context", "--namespace", "--container", "-o", "-f", "-l", "--raw", "--kubeconfig")
_CHUNK = 1 << 16


def install(
    folder: Path, *, faults: tuple[str, ...] = (), share: float = 0.0, seed: int = 0
) -> str:
    """Lay a fake cluster into a folder, and return the path of its `kubectl`.

    Args:
        faults: what may befall an `exec`; some of `FAULTS`.
        share: how many of the calls are befallen, from 0 to 1.
        seed: decides which, and where.
    """
    (folder / "pods").mkdir(parents=True, exist_ok=True)
    plan = {"faults": list(faults), "share": share, "seed": seed}
    (folder / "plan.json").write_text(json.dumps(plan))
    command = folder / "kubectl"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{__file__}" "{folder}" "$@"\n')
    command.chmod(0o755)
    return str(command)


def make_pod(folder: Path, name: str, manifest: dict[str, Any] | None = None) -> dict[str, Any]:
    """Let a pod run in a fake cluster, in the place of one of that name, and return it."""
    pod = dict(manifest or {"metadata": {"name": name}, "spec": {}})
    pod["metadata"] = {"namespace": "default", **pod["metadata"], "uid": str(uuid.uuid4())}
    running = {"name": "claude", "ready": True, "state": {"running": {}}}
    status = {"phase": "Running", "containerStatuses": [running]}
    pod["status"] = _cluster(folder).get("status", status)
    (folder / "pods" / pod["metadata"]["uid"]).mkdir()
    write_pod(folder, name, pod)
    return pod


def write_pod(folder: Path, name: str, pod: dict[str, Any]) -> None:
    """Set what a pod of a fake cluster is."""
    draft = folder / "pods" / f".{name}"
    draft.write_text(json.dumps(pod))
    draft.rename(folder / "pods" / f"{name}.json")


def read_pod(folder: Path, name: str) -> dict[str, Any]:
    """Return a pod of a fake cluster.

    Raises:
        SystemExit: there is none.
    """
    try:
        pod: dict[str, Any] = json.loads((folder / "pods" / f"{name}.json").read_text())
    except FileNotFoundError:
        sys.exit(_NOT_FOUND.format(name))
    return pod


def _pods(folder: Path) -> list[dict[str, Any]]:
    """Return all pods of a fake cluster; one may be deleted meanwhile."""
    found = []
    for file in sorted(folder.glob("pods/*.json")):
        with suppress(FileNotFoundError):
            found.append(json.loads(file.read_text()))
    return found


def delete_pod(folder: Path, name: str) -> None:
    """Delete a pod of a fake cluster, with all that runs in it."""
    pod = read_pod(folder, name)
    try:
        (folder / "pods" / f"{name}.json").unlink()
    except FileNotFoundError:  # another one was faster
        sys.exit(_NOT_FOUND.format(name))
    _kill(pod)


def fail_pod(folder: Path, name: str, **status: Any) -> None:
    """Let a pod of a fake cluster fail, as one that is evicted does."""
    pod = read_pod(folder, name)
    write_pod(folder, name, {**pod, "status": {"phase": "Failed", **status}})
    _kill(pod)


def _kill(pod: dict[str, Any]) -> None:
    """Kill all that runs in a pod, also what is started meanwhile."""
    while pids := _running_in(pod):
        for pid in pids:
            with suppress(ProcessLookupError):  # it has ended
                os.kill(pid, signal.SIGKILL)


def _running_in(pod: dict[str, Any]) -> list[int]:
    mark = f"FAKE_POD={pod['metadata']['uid']}".encode()
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(FileNotFoundError, PermissionError, ProcessLookupError):  # another user's
            if mark in environ.read_bytes().split(b"\0"):
                found.append(int(environ.parent.name))
    return found


def _has_gone(folder: Path, pod: dict[str, Any]) -> bool:
    """Return whether a pod was deleted, or has failed, since it was read."""
    try:
        now = json.loads((folder / "pods" / f"{pod['metadata']['name']}.json").read_text())
    except FileNotFoundError:
        return True
    is_another = now["metadata"]["uid"] != pod["metadata"]["uid"]
    return bool(is_another or now["status"]["phase"] != "Running")


def _exec(folder: Path, pod: dict[str, Any], argv: list[str]) -> int:
    """Run a command in a pod, as well as the fault that is chosen for this call allows."""
    fault, dice = _choose(folder)
    if fault in _SAYS:
        sys.exit(_SAYS[fault].format(pod["metadata"]["name"]))
    if (phase := pod["status"]["phase"]) != "Running":
        sys.exit(
            f"error: cannot exec into a container in a completed pod; current phase is {phase}"
        )
    uid = pod["metadata"]["uid"]
    path = f"{folder / 'without-network'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    home = str(folder / "pods" / uid)
    environ = {**os.environ, "HOME": home, "FAKE_POD": uid, "PATH": path}
    command = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, start_new_session=True
    )
    if _has_gone(folder, pod):  # whoever ended it may have looked before this began
        _kill(pod)
    carried = int(10 ** dice.uniform(0, 6)) if fault in ("short", "silent") else -1
    cut = _carry(command, carried, half_closes=fault != "no half-close")
    if (fault == "silent" and cut) or fault == "endless":
        signal.pause()
    if fault == "short" and cut:
        return 0
    return command.wait() if fault != "no status" else dice.randrange(2)


def _carry(command: subprocess.Popen[bytes], left: int, *, half_closes: bool) -> bool:
    """Carry the streams until the command has ended, or so many bytes (-1: all); return if cut."""
    assert command.stdin is not None
    assert command.stdout is not None
    output = command.stdout.fileno()
    sources = {0, output}
    while output in sources:
        for source in select.select(sources, [], [])[0]:
            data = os.read(source, _CHUNK)
            if source == output and data:
                os.write(1, data if left < 0 else data[:left])
                left = left if left < 0 else left - len(data[:left])
                if left == 0:
                    return True
            elif data:
                _feed(command.stdin.fileno(), data)
            else:
                sources.remove(source)
                if source == 0 and half_closes:
                    command.stdin.close()
    return False


def _feed(descriptor: int, data: bytes) -> None:
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except BrokenPipeError:
        return  # it reads no more


def _choose(folder: Path) -> tuple[str, random.Random]:
    """Return what befalls this call, which is a matter of the seed and of its number."""
    plan = json.loads((folder / "plan.json").read_text())
    with (folder / "calls").open("a+") as calls:
        fcntl.flock(calls, fcntl.LOCK_EX)
        calls.seek(0)
        number = len(calls.read())
        calls.write("x")
    dice = random.Random(f"{plan['seed']} {number}")
    befallen = plan["faults"] and dice.random() < plan["share"]
    return (dice.choice(plan["faults"]) if befallen else ""), dice


def main(folder: Path, words: list[str]) -> int:
    """Do what a command line asks for, and return the exit status."""
    at = words.index("--") if "--" in words else len(words)
    before, argv = words[:at], words[at + 1 :]
    _refuse(folder)
    match _positional(before):
        case ["exec", name]:
            return _exec(folder, read_pod(folder, name), argv)
        case ["config", "current-context"]:
            _print(_cluster(folder).get("context", "fake"))
        case ["get", "pod", name]:
            _print(json.dumps(read_pod(folder, name)))
        case ["get", "pods"]:
            _print(json.dumps({"items": _pods(folder)}))
        case ["create"]:
            _print(json.dumps(_create(folder, json.load(sys.stdin))))
        case ["get", "networkpolicy", name]:
            _print(f"networkpolicy.networking.k8s.io/{name}")
        case ["label", "pod", _, _]:
            _close_network(folder)
        case ["delete"]:
            _delete(folder, before[before.index("--raw") + 1].rpartition("/")[2])
        case ["auth", "can-i", verb, what]:
            forbidden = _cluster(folder).get("forbidden", [])
            _print("no" if f"{verb} {what}" in forbidden else "yes")
        case other:
            sys.exit(f"error: the fake kubectl has no {' '.join(other)}")
    return 0


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _cluster(folder: Path) -> dict[str, Any]:
    """Return what was set of the cluster itself: `refusal`, `status` of new pods, `forbidden`."""
    file = folder / "cluster.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return found


def set_cluster(folder: Path, **what: Any) -> None:
    """Set of a cluster what it answers to everything (`refusal`), what new pods are (`status`),
    what may not be done (`forbidden`), and whether its network enforces policies, and how
    (`enforces`).
    """
    (folder / "cluster.json").write_text(json.dumps(what))


def _refuse(folder: Path) -> None:
    if refusal := _cluster(folder).get("refusal"):
        sys.exit(refusal)


def _create(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    if manifest["kind"] == "NetworkPolicy":
        _close_network(folder)
        return manifest
    name = manifest["metadata"]["name"]
    if (folder / "pods" / f"{name}.json").exists():
        sys.exit(_EXISTS.format(name))
    return make_pod(folder, name, manifest)


def _close_network(folder: Path) -> None:
    """Let `bash`, by which a pod tries its network, say what it does where a policy is enforced.

    `enforces` is True for a network that drops what is not allowed, and else an error's text, empty
    for a pod in which no bash begins.
    """
    if (enforces := _cluster(folder).get("enforces")) is None:
        return
    says = {True: "echo begun", "": ""}.get(
        enforces, f"echo begun; echo bash: '{enforces}'; exit 1"
    )
    (folder / "without-network").mkdir(exist_ok=True)
    bash = folder / "without-network" / "bash"
    bash.write_text(f"#!/bin/sh\n{says}\nexec tail -f /dev/null\n")
    bash.chmod(0o755)


def _delete(folder: Path, name: str) -> None:
    wanted = json.load(sys.stdin)["preconditions"]["uid"]
    if read_pod(folder, name)["metadata"]["uid"] != wanted:
        sys.exit(_SAYS["409"].format(name))
    delete_pod(folder, name)


def _positional(words: list[str]) -> list[str]:
    """Return the words that are neither a flag nor its value."""
    left = iter(words)
    found = []
    for word in left:
        if word in _VALUED:
            next(left)
        elif not word.startswith("-") or word == "-":
            found.append(word)
    return found


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
