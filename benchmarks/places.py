"""Other places: a prompt through us, over the place's own client with the same Claude."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from harness import HERE, PATIENCE, Figure, Numbers, World, interleave, median, ratio
from harness import seconds as say

from claude_mpm.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_TOOLS, _PLACES = HERE.parent / "tools", HERE.parent / ".places"
_PROGRAM = str(Path(sys.executable).parent / "claude-mpm")
_INSIDE = "/usr/local/bin/claude"  # where a container has the Claude of this machine
_SAID = b"Claude heard:"
_POD = "claude-mpm-bench"
# What Claude is told of the model; all else of an environment is the place's own.
_NAMES = (
    "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "DISABLE_TELEMETRY", "DISABLE_AUTOUPDATER",
    "DISABLE_ERROR_REPORTING", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
)  # fmt: skip
Sides = tuple[list[str], list[str]]  # the command of the place's client, and our options


def elsewhere(world: World) -> Iterator[Figure]:
    """p: a start, an answer and an end in each place that runs; `make places` starts them."""
    with ScriptedModel() as model, contextlib.ExitStack() as ends:
        env = {**model.environment(world.fresh() / "home"), "PATH": os.environ["PATH"]}
        env["CLAUDE_MPM_STATE_DIR"] = str(world.folder / "state")
        told = [f"{name}={env[name]}" for name in _NAMES]
        for name, place in (("docker", _docker), ("ssh", _ssh), ("kubernetes", _kubernetes)):
            found = _found(name)
            if found is not None:
                env |= found
                bare, ours = place(found, told, ends)
                yield _figure(world, name, env, bare, ours)


def _figure(
    world: World, name: str, env: Mapping[str, str], bare: list[str], ours: list[str]
) -> Figure:
    run = [_PROGRAM, "run", "--quiet", "--orchestrator", name, *ours, "hi"]
    sides = {"bare": _process(bare, env), "ours": _process(run, env)}
    for side in sides.values():  # what is made once
        side()
    runs = interleave(world.pick(7, 3, 1), **sides)
    took = {
        side: f"{say(median(runs[side], 'answer'))}, to its end {say(median(runs[side], 'whole'))}"
        for side in sides
    }
    client = " ".join(bare[:1] if name == "ssh" else bare[:2])
    return Figure(
        f"p ({name})", f"`claude-mpm run` in {name} until Claude has answered, over `{client}`",
        *ratio(runs["ours"], runs["bare"], "answer"), 1.3,
        sides={f"`{client} … claude -p`": took["bare"], "`claude-mpm run`": took["ours"]},
        note="The same Claude in the same place, which is made and ended by each but in ssh and in"
        " a pod that runs." if name == "docker" else "",
    )  # fmt: skip


def _process(command: list[str], env: Mapping[str, str]) -> Callable[[], Numbers]:
    """Return a side that runs a command, and notes when it printed the answer and when it ended."""
    folder = Path(env["HOME"], "..", "project").resolve()  # a container is given it, and no home
    folder.mkdir(exist_ok=True)

    def run() -> Numbers:
        begun = time.perf_counter()
        with subprocess.Popen(
            command, cwd=folder, env=dict(env), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            said = b""
            while _SAID not in said and (piece := os.read(process.stdout.fileno(), 1 << 16)):
                said += piece
            answered = time.perf_counter() - begun
            rest, errors = process.communicate(timeout=PATIENCE)
        if process.returncode or _SAID not in said:
            raise RuntimeError(f"{command}: {process.returncode}: {said + rest!r} {errors!r}")
        return {"answer": answered, "whole": time.perf_counter() - begun}

    return run


def _found(place: str) -> dict[str, str] | None:
    """Return how a place is reached, by the names of variables; None where it does not run."""
    if subprocess.run([_TOOLS / "places.sh", "status", place], check=False).returncode:
        print(f"{place} does not run, and is left out")
        return None
    lines = (_PLACES / f"{place}.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def _docker(found: Mapping[str, str], told: list[str], _: contextlib.ExitStack) -> Sides:
    mount = f"{found['CLAUDE']}:{_INSIDE}:ro"
    named = [word for each in told for word in ("-e", each)]
    client = ["docker", "run", "--rm", "--network", "host", "-v", mount, *named]
    options = {"image": found["IMAGE"], "network": "host", "mounts": mount}
    return [*client, found["IMAGE"], "claude", "-p", "hi"], _options(options)


def _ssh(found: Mapping[str, str], told: list[str], _: contextlib.ExitStack) -> Sides:
    options = {"host": found["SSH_HOST"], "config": found["SSH_CONFIG"]}
    client = ["ssh", "-F", found["SSH_CONFIG"], found["SSH_HOST"], "env", *told]
    claude = found["CLAUDE"]
    return [*client, claude, "-p", "hi"], _options({**options, "claude_path": claude})


def _kubernetes(found: Mapping[str, str], told: list[str], ends: contextlib.ExitStack) -> Sides:
    """Make a pod, which `ends` deletes; both sides use it."""
    kubectl = ["kubectl", "--kubeconfig", found["KUBECONFIG"]]
    ends.callback(subprocess.run, [*kubectl, "delete", "pod", _POD, "--now"], check=False)
    mount = {"name": "claude", "mountPath": _INSIDE, "readOnly": True}
    container = {
        "name": "claude", "image": found["IMAGE"], "imagePullPolicy": "Never",
        "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"],
        "volumeMounts": [mount],
    }  # fmt: skip
    volume = {"name": "claude", "hostPath": {"path": found["CLAUDE"], "type": "File"}}
    spec = {
        "hostNetwork": True, "restartPolicy": "Never", "automountServiceAccountToken": False,
        "containers": [container], "volumes": [volume],
    }  # fmt: skip
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": _POD}, "spec": spec}
    subprocess.run([*kubectl, "apply", "-f", "-"], input=json.dumps(pod).encode(), check=True)
    ready = ["wait", "--for", "condition=Ready", f"pod/{_POD}", "--timeout", "120s"]
    subprocess.run([*kubectl, *ready], check=True)
    client = ["kubectl", "exec", _POD, "--", "env", *told, "claude", "-p", "hi"]
    return client, _options({"pod": _POD})


def _options(options: Mapping[str, str]) -> list[str]:
    return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]


FIGURES = {"p": elsewhere}
