"""More sessions at once than a cluster has room for: those that wait say so, and all end."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from chaos.evidence import gather
from chaos.kubernetes_world import PATIENCE
from chaos.pod_talk import NOT_GONE_ON, check_prompt
from claude_mpm.own_python import own_environ, own_python

if TYPE_CHECKING:
    from chaos.figures import Figures
    from chaos.kubernetes_world import KubernetesWorld

_FIT = 6  # sessions at once, at most
_UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
_COMMAND = "from claude_mpm.cli.main import main; main()"
_WAITS = "no node takes it"


def crowd(world: KubernetesWorld, number: int, figures: Figures) -> None:
    """Start so many sessions at once, of which half fit, and at most six; end each when idle."""
    fit = min(_FIT, number // 2)
    places = {"lab": {"orchestrator": "kubernetes", "options": _options(world, fit)}}
    environ = own_environ(
        {
            "PATH": os.environ["PATH"],
            "HOME": str(world.path / "home"),
            "KUBECONFIG": world.cluster["KUBECONFIG"],
            "CLAUDE_MPM_STATE_DIR": str(world.state),
            "CLAUDE_MPM_PLACES": json.dumps(places),
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        }
    )
    one = _One(world, environ, figures)
    sessions = [str(uuid.uuid4()) for _ in range(number)]
    with ThreadPoolExecutor(number) as pool:
        waited = sum(pool.map(one.play, sessions))
    for session in sessions:
        _check(world, session, figures)
    figures.counts["sessions at once"] += number
    figures.counts["sessions that waited for room"] += waited
    figures.played[world.kind] += number
    unsaid = max(0, number - fit - waited)
    figures.found("waits that were not said", unsaid, f"{waited} of {number} said that they wait")


def _check(world: KubernetesWorld, session: str, figures: Figures) -> None:
    """See that a session of the crowd has asked once, and has the answer and its ticket once."""
    found = gather(world, session, world.path / "none")
    results = sum(map(len, found.results.values()))
    where = f"crowd, {session}"
    check_prompt(world, figures, where, begin=session, results=results)
    figures.found("lost events", len(found.lost_events), where)
    figures.found("tickets missing", int(not found.tickets), where)
    figures.found("repeated tickets", max(0, len(found.tickets) - 1), where)
    figures.counts["prompts"] += 1
    figures.counts["tickets"] += len(found.tickets)


def _options(world: KubernetesWorld, fit: int) -> dict[str, object]:
    """Return the options of a pod of which so many fit on the node."""
    amount = str(world.node()["status"]["allocatable"]["memory"])
    size = int(amount[:-2]) * _UNITS[amount[-2:]] if amount[-2:] in _UNITS else int(amount)
    memory = f"{int(size / (fit + 0.5)) >> 20}Mi"
    return {**world.place(memory=memory), "environ": world.environ()}


class _One:
    """Plays one session of the crowd by the command line, as a user does."""

    def __init__(self, world: KubernetesWorld, environ: dict[str, str], figures: Figures) -> None:
        self._world = world
        self._environ = environ
        self._figures = figures
        self._noting = threading.Lock()  # of the figures, by all that play at once

    def play(self, session: str) -> bool:
        """Run it, wait until it is idle, and stop it; return whether it said that it waits."""
        words = ["run", "--detach", "--on", "lab", "--session", session, f"{session}: tell"]
        said = ""
        for command in (words, ["wait", session], ["stop", session]):
            done = self._run(*command)
            said += done.stderr
            failed = f"crowd, {command[0]} {session}: {done.stderr.strip()[-300:]}"
            with self._noting:
                self._figures.found(NOT_GONE_ON, int(done.returncode != 0), failed)
        return _WAITS in said

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            own_python("-c", _COMMAND, *words),
            env=self._environ,
            cwd=self._world.path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=6 * PATIENCE,
            check=False,
        )
