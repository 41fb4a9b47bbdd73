"""A real Kubernetes as the place of a scenario: its programs, its pods, and what it says."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from unittest import mock

from chaos.beside import Beside, until
from chaos.places import place_env, pod_template, running
from chaos.world import GO_ON, RealWorld
from claude_mpm.environments.pod import LABEL
from claude_mpm.testing.faults import kill
from claude_mpm.testing.processes import commands, processes
from claude_mpm.testing.script import Call, Say
from claude_mpm.testing.scripted_model import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claude_mpm.testing.request import Request
    from claude_mpm.testing.script import Script

PATIENCE = 120.0  # seconds for something that has to happen
VARIABLE = "MADE_UP_KEY"
_NODE, _TAINT = "node1", "claude-mpm-chaos"
_LINES = 100  # of an answer, which takes some seven seconds
_SCAN, _ASK_EVERY = 0.1, 5.0  # seconds between two looks at processes, and at the cluster
# Fills a volume in memory, which belongs to no process: at last the pod's first one is killed, too.
_EAT = "setsid sh -c 'while :; do cat /dev/zero; done >/run/claude-mpm/eaten' </dev/null & sleep 60"
_START = 'echo $$ >"$0.pid"; exec "$@" >>"$0.log" 2>&1 </dev/null'


class KubernetesWorld(RealWorld):
    """Here the real Claude Code runs in pods, which share this machine's network with the model.

    Attributes:
        cluster: what `tools/places.sh` says of it.
        key: a made-up key that every Claude gets as a variable.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cluster = place_env("kubernetes")
        self.key = f"made-up-{secrets.token_hex(16)}"
        count = Call("Bash", command=f'printf "%s" "$(printf "%s" "${VARIABLE}" | wc -c)"')
        self.model = ScriptedModel()
        self.model.on(GO_ON, _tell)
        self.model.on("tell", _tell)
        self.model.on("eat", self._eat)
        self.model.on("count", count, lambda request: f"{request.tool_results[0].text} characters")
        self._eaten: set[str] = set()  # tokens of prompts; the model alone writes it
        self._environ = mock.patch.dict(os.environ, {"KUBECONFIG": self.cluster["KUBECONFIG"]})

    def __enter__(self) -> Self:
        """Let every `kubectl` of this process lead to the cluster."""
        self._environ.start()
        return super().__enter__()

    def __exit__(self, *exception: object) -> None:
        """Let it lead elsewhere again."""
        super().__exit__(*exception)
        self._environ.stop()

    def _eat(self, request: Request) -> Script:
        """Let a tool eat the memory, the first time that it is asked for."""
        token = _token(request)
        if token in self._eaten:
            return _tell(request)
        self._eaten.add(token)
        return (Call("Bash", command=_EAT), "It is eaten.")

    def environ(self) -> dict[str, str]:
        """Return the environment, with the key."""
        return {**super().environ(), VARIABLE: self.key}

    def place(self, **further: Any) -> dict[str, Any]:
        """Return what a pod is made with, as options of the place."""
        made = {"image": self.cluster["IMAGE"], "template": self._template()}
        return {**made, "pull": "Never", **further}

    def options(self, session: str) -> dict[str, Any]:
        """Return the options of an orchestrator whose Claude runs in a pod."""
        options = {**super().options(session), **self.place(), "partial": True}
        del options["cwd"], options["claude_path"]  # the pod has its own
        return options

    def _template(self) -> str:
        """Return the file of a pod's template, which mounts Claude."""
        file = self.path / "pod.json"
        file.write_text(pod_template(self.cluster["CLAUDE"]))
        return str(file)

    def part(self, name: str) -> Part:
        """Return one of the cluster's programs."""
        return Part(Path(self.cluster["FOLDER"]) / name)

    def node(self) -> dict[str, Any]:
        """Return the only node."""
        node: dict[str, Any] = json.loads(ask("get", "node", _NODE, "-o", "json"))
        return node

    def is_ready(self) -> bool:
        """Return whether the node is ready, as the cluster has it."""
        conditions = self.node()["status"]["conditions"]
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    @contextmanager
    def tainted(self) -> Iterator[None]:
        """Let no pod stay on the node, as the cluster does with a silent one that has others."""
        ask("taint", "node", _NODE, f"{_TAINT}=yes:NoExecute")
        try:
            yield
        finally:
            ask("taint", "node", _NODE, f"{_TAINT}-")

    def is_to_go(self, pod: str) -> bool:
        """Return whether a pod is there, and is to be deleted."""
        return bool(ask("get", "pod", pod, "-o", "jsonpath={.metadata.deletionTimestamp}"))

    def pods(self) -> list[str]:
        """Return the names of all pods that were made for sessions."""
        return ask("get", "pods", "-l", LABEL, "-o", "name").split()

    def processes(self) -> list[str]:
        """Return the commands of what is left of this world's sessions on this machine."""
        known = processes()
        path, ours = str(self.path), os.getpid()
        return [each.command for pid, each in known.items() if path in each.command and pid != ours]


class Part:
    """A program of the cluster, which is known by the file with its process id.

    Args:
        base: the path of that file, without its ending.
    """

    def __init__(self, base: Path) -> None:
        self._base = base

    @property
    def pid(self) -> int:
        """Its process."""
        return int(self._base.with_name(f"{self._base.name}.pid").read_text())

    def kill(self) -> list[str]:
        """Kill it, and return the command that it was started with."""
        pid = self.pid
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
        kill([pid])
        until(lambda: pid not in processes(), f"{self._base.name} survives SIGKILL", PATIENCE)
        return command

    def start(self, command: list[str]) -> None:
        """Start it again, as it was."""
        fork = ["setsid", "--fork", "sh", "-c", _START, str(self._base), *command]
        subprocess.run(fork, check=True)


class Lookout(Beside):
    """Looks for a key wherever the cluster and this machine show what they have, all the time.

    Attributes:
        looks: how often the cluster was asked.
        seen: where the key was.
    """

    def __init__(self, world: KubernetesWorld) -> None:
        super().__init__("chaos-lookout")
        self._world = world
        self.looks = 0
        self.seen: set[str] = set()

    def __exit__(self, *_: object) -> None:
        """Look once more, also into the logs of the cluster's programs."""
        super().__exit__()
        self._ask_cluster()
        for log in Path(self._world.cluster["FOLDER"]).glob("*.log"):
            self._look(f"the log {log.name}", log.read_text("utf-8", "replace"))

    def run(self) -> None:
        """Look until it is called off; called in its own thread."""
        asked = 0.0
        while not self.off.wait(_SCAN):
            self._look("a list of processes", commands())
            if time.monotonic() - asked > _ASK_EVERY:
                self._ask_cluster()
                asked = time.monotonic()

    def _ask_cluster(self) -> None:
        """The API server may be away just now; what it says afterwards is complete."""
        kinds = ("pods", "events", "configmaps,secrets")
        said = [_run("get", kind, "-A", "-o", "yaml") for kind in kinds]
        pods = re.findall(r"^    name: (claude-mpm-\S+)$", said[0], re.MULTILINE)
        said += [_run("logs", pod) for pod in pods]
        self.looks += bool(said[0])
        self._look("what the cluster says", "\n".join(said))

    def _look(self, where: str, text: str) -> None:
        if self._world.key in text:
            self.seen.add(where)


def streams(pod: str) -> list[int]:
    """Return the processes of this machine that carry streams to and from a pod."""
    return running(f"\0exec\0-i\0{pod}\0")


def ask(*words: str) -> str:
    """Return what `kubectl` prints.

    Raises:
        CalledProcessError: it failed.
    """
    done = subprocess.run(["kubectl", *words], capture_output=True, text=True, check=True)
    return done.stdout


def _run(*words: str) -> str:
    done = subprocess.run(["kubectl", *words], capture_output=True, text=True, check=False)
    return done.stdout


def told(word: str, token: str) -> str:
    """Return the answer to a prompt that has the model tell something at length."""
    lines = "".join(f"line {number} of it\n" for number in range(_LINES))
    return f"Your word is {word}.\n{lines}TODO: Do {token}\nIt is told."


def _tell(request: Request) -> Say:
    """Answer with the word that the first prompt has named, and the token of the last one."""
    named = re.search(r"my word is (\w+)", request.text)
    word = named[1] if named else "forgotten"
    return Say(told(word, _token(request)), chunk=5, delay=0.02)


def _token(request: Request) -> str:
    """Return what the last prompt begins with."""
    found: list[str] = re.findall(r"\b([0-9a-f]{8}-[0-9a-f-]+): (?:tell|eat)", request.text)
    return found[-1] if found else "nothing"
