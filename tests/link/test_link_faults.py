"""Whatever befalls the connection, the journal here is the one there, and nothing comes twice."""

from __future__ import annotations

import os
import random
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.environments.base import Environment
from claude_mpm.environments.linked import start_linked
from claude_mpm.environments.order import Order
from claude_mpm.journal.layout import SessionFolder
from claude_mpm.link import command, shell
from claude_mpm.link import link as link_module
from claude_mpm.link.link import Link, read_far
from claude_mpm.testing.fake_kubectl import FAULTS, install, make_pod

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

RUNS = int(os.environ.get("CLAUDE_MPM_FAULTS", "2"))  # of each fault, each with a seed of its own
SECONDS = 200.0  # each connection that is given up, and each attempt on a busy machine, takes some
pytestmark = pytest.mark.timeout(2 * SECONDS)
# Answers each line with some lines of its own, and ends at `end`.
PROGRAM = """n=0
while read -r line; do
    echo "$line" >>"$0"
    echo "heard $line"
    m=0
    while [ $m -lt 300 ]; do echo "line $n"; n=$((n + 1)); m=$((m + 1)); done
    [ "$line" != end ] || exit 7
done"""


class Pod(Environment):
    """A pod of a fake cluster, by nothing but a command in front."""

    name = "pod"

    def __init__(self, kubectl: str) -> None:
        self._kubectl = kubectl

    def wrap(self, argv: Sequence[str]) -> list[str]:
        return [self._kubectl, "exec", "-i", "pod-1", "--", *argv]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is silent is given up soon."""
    monkeypatch.setattr(shell, "_PATIENCE", 2.0)
    monkeypatch.setattr(command, "_TO_END", 0.1)
    monkeypatch.setattr(link_module, "_BEAT", 0.2)
    monkeypatch.setattr(link_module, "_IN_TRANSIT", 0.2)
    monkeypatch.setattr(link_module, "_LONGEST_PAUSE", 0.2)
    monkeypatch.setattr("signal.signal", lambda *_: None)  # it is no process of its own here


@pytest.fixture
def folder(tmp_path: Path) -> SessionFolder:
    path = tmp_path / "state" / "sessions" / "one"
    path.parent.mkdir(parents=True, mode=0o700)
    made = SessionFolder(path)
    made.create()
    made.prepare_host()
    return made


class Journey:
    """A session in a fake pod, its link in this process, and what became of both."""

    def __init__(self, folder: SessionFolder, cluster: Path, fault: str, seed: int) -> None:
        kubectl = install(cluster)
        self._home = cluster / "pods" / make_pod(cluster, "pod-1")["metadata"]["uid"]
        self._cluster = cluster
        self._folder = folder
        self._laid(Pod(kubectl))
        install(cluster, faults=(fault,), share=0.5, seed=seed)

    def _laid(self, place: Pod) -> None:
        order = Order(
            folder=self._folder,
            claude="/bin/sh",
            arguments=("-c", PROGRAM, str(self._home / "copy")),
            cwd="/",
            environ={},
            linger=SECONDS,
            linger_limit=SECONDS,
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("claude_mpm.environments.linked.LinkedHost", lambda folder: folder)
            start_linked(place, order)

    def run(self, lines: Sequence[str]) -> tuple[bytes, bytes]:
        """Give it lines, one message each; return the journal here, and what it was given there."""
        far, base = read_far(self._folder)
        for name, line in enumerate(lines, 1):
            (self._folder.inbox / str(name)).write_text(line + "\n")
            self._folder.append(self._folder.announced, str(name))
        linking = threading.Thread(target=Link(self._folder, far, base).run, daemon=True)
        linking.start()
        linking.join(SECONDS)
        assert not linking.is_alive(), self._folder.stderr_tail()
        return self._folder.journal.path.read_bytes(), (self._home / "copy").read_bytes()


def expected(lines: Sequence[str]) -> bytes:
    given = "".join(f"{line}\n" for line in lines).encode()
    return subprocess.run(
        ["sh", "-c", PROGRAM], input=given, capture_output=True, check=False
    ).stdout


@pytest.mark.parametrize("seed", range(RUNS))
@pytest.mark.parametrize("fault", FAULTS)
def test_a_session_is_whole_whatever_befalls_its_connections(
    fault: str, seed: int, folder: SessionFolder, tmp_path: Path
) -> None:
    dice = random.Random(f"{fault} {seed}")
    lines = [f"message {n} {'x' * dice.randrange(100_000)}" for n in range(3)] + ["end"]
    here, given = Journey(folder, tmp_path / "cluster", fault, seed).run(lines)
    assert given.decode().splitlines() == lines
    assert here == expected(lines)
    assert folder.exit_status() == 7


def test_sigterm_waits_for_no_lock_of_the_thread_that_it_interrupts(folder: SessionFolder) -> None:
    far: Any = None
    link = Link(folder, far, 0)

    def interrupted() -> None:
        with vars(link._wake)["_cond"]:  # as at the beginning and at the end of a wait
            link._on_terminate()

    thread = threading.Thread(target=interrupted, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
