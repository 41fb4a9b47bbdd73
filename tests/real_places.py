"""The real places of the tests: a Docker Engine, an sshd, a cluster, by `tools/places.sh`.

`make places` starts them and keeps them; a run of the tests that finds none starts what it needs,
and ends it when all its workers have ended. Without root, and without an engine that may be used,
the tests of the place fail with the script's one line.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from chaos.places import place_env
from chaos.places import pod_template as _pod_template

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROJECT = Path(__file__).parents[1]
_SCRIPT = _PROJECT / "tools" / "places.sh"
_PLACES = _PROJECT / ".places"
_SECONDS = 300.0  # a first start installs packages
_RUN = "MPM_TEST_RUN"  # a variable that names the run to its workers
_STARTED_BY = _PLACES / "started-by"  # the run that has started the places, if one has
_ENVIRON = dict(os.environ)  # a test that needs a place has a HOME of its own by then


def pytest_configure(config: pytest.Config) -> None:
    """Name this run; its workers inherit the name."""
    if not hasattr(config, "workerinput"):
        os.environ[_RUN] = str(os.getpid())


@pytest.hookimpl(trylast=True)  # all workers have ended
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the places that this run has started; a worker's end is not that of the others."""
    if hasattr(session.config, "workerinput") or not _STARTED_BY.exists():
        return
    if _STARTED_BY.read_text() == os.environ[_RUN]:
        _script("stop")


class Engine(NamedTuple):
    """A Docker Engine; DOCKER_HOST leads to it.

    Args:
        host: its address, as DOCKER_HOST has it.
        image: an image with a shell, git and all that Claude needs but Claude.
        claude: Claude Code as a file that can be mounted.
    """

    host: str
    image: str
    claude: str


class SSHServer(NamedTuple):
    """An sshd on loopback that lets the tests in.

    Args:
        config: for `ssh -F`; it knows `host`.
        host: the alias to log in to.
        user: the account; not root.
        port: where it listens on 127.0.0.1.
        claude: Claude Code as a file that the account can run.
    """

    config: str
    host: str
    user: str
    port: int
    claude: str


@pytest.fixture(scope="session")
def _engine() -> Engine:
    found = _bring_up("docker")
    return Engine(found["DOCKER_HOST"], found["IMAGE"], found["CLAUDE"])


@pytest.fixture
def docker(_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A real Docker Engine, which the test and what it starts use by default."""
    monkeypatch.setenv("DOCKER_HOST", _engine.host)
    return _engine


@pytest.fixture(scope="session")
def sshd() -> SSHServer:
    """A real sshd on loopback."""
    found = _bring_up("ssh")
    return SSHServer(
        config=found["SSH_CONFIG"],
        host=found["SSH_HOST"],
        user=found["SSH_USER"],
        port=int(found["SSH_PORT"]),
        claude=found["CLAUDE"],
    )


class Cluster(NamedTuple):
    """A Kubernetes of one node, which sees the files of this machine.

    Args:
        config: the kubectl configuration that leads to it.
        image: an image on its node with a shell, git and all that Claude needs but Claude.
        claude: Claude Code as a file that can be mounted.
        folder: where its programs keep their files, and their process ids in NAME.pid.
    """

    config: str
    image: str
    claude: str
    folder: str


@pytest.fixture(scope="session")
def _cluster() -> Cluster:
    found = _bring_up("kubernetes")
    return Cluster(found["KUBECONFIG"], found["IMAGE"], found["CLAUDE"], found["FOLDER"])


@pytest.fixture
def cluster(_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A real Kubernetes, which the test's `kubectl` leads to."""
    monkeypatch.setenv("KUBECONFIG", _cluster.config)
    return _cluster


@pytest.fixture
def pod_template(cluster: Cluster, tmp_path: Path) -> str:
    """A pod template that mounts Claude, and shares the network on which the model listens."""
    file = tmp_path / "pod.yaml"
    file.write_text(_pod_template(cluster.claude))
    return str(file)


@pytest.fixture
def pod(cluster: Cluster, pod_template: str) -> Iterator[str]:
    """The name of a pod of somebody else's that runs."""
    from claude_mpm.environments.pod import PodRecipe, make_pod, read_template
    from claude_mpm.link.kubectl import Kubectl

    recipe = PodRecipe(image=cluster.image, pull="Never", template=read_template(pod_template))
    manifest = recipe.manifest(f"mine-{uuid.uuid4().hex[:8]}", "the tests")
    (container,) = manifest["spec"]["containers"]
    container["command"] = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"]
    made = make_pod(Kubectl(), manifest, _SECONDS)
    yield made["metadata"]["name"]
    Kubectl().delete(made)


@pytest.fixture(scope="session")
def tmux() -> str:
    """The command `tmux`."""
    if _script("status", "tmux").returncode:
        _start("tmux")
    return "tmux"


@pytest.fixture(scope="session")
def gh() -> str:
    """GitHub's command `gh`."""
    if _script("status", "gh").returncode:
        _start("gh")
    return "gh"


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Debian's Chromium; CHROMIUM names another."""
    if named := os.environ.get("CHROMIUM"):
        return named
    if _script("status", "browser").returncode:
        _start("browser")
    found = shutil.which("chromium")
    assert found is not None
    return found


def _bring_up(place: str) -> dict[str, str]:
    if _script("status", place).returncode:
        _start(place)
    return place_env(place)


def _start(place: str) -> None:
    is_first = not _PLACES.exists()
    done = _script("start", place)
    if is_first and _PLACES.exists():
        _STARTED_BY.write_text(os.environ[_RUN])
    if done.returncode:
        pytest.fail(done.stderr.strip(), pytrace=False)


def _script(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the script; what it starts goes on, and must not hold our pipes."""
    return subprocess.run(
        [_SCRIPT, *words],
        env=_ENVIRON,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
