"""Every place keeps every contract, with the real thing and the real Claude Code behind it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from places_table import is_complete, page
from session_server import server  # noqa: F401 - a fixture

from claude_mpm import MPMOrchestrator, create_orchestrator
from claude_mpm.environments.docker import Docker
from claude_mpm.environments.ssh import SSH
from claude_mpm.testing import contracts
from claude_mpm.testing.check import attempt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from claude_mpm.testing import Contract, Result

    Make = Callable[..., MPMOrchestrator]

ROOT = Path(__file__).parents[2]
REPORT, PAGE = ROOT / "reports" / "places.md", ROOT / "docs" / "places.md"


class Real:
    """The real things, each started when a place first needs it."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request

    def __getattr__(self, name: str) -> Any:
        return self._request.getfixturevalue(name)

    @property
    def image(self) -> dict[str, Any]:
        """What a container is made with."""
        claude = f"{self.docker.claude}:/usr/local/bin/claude:ro"
        return {"image": self.docker.image, "network": "host", "mounts": [claude]}


def docker_over_ssh(
    host: str, config: str, image: dict[str, Any], **options: Any
) -> MPMOrchestrator:
    """Return an orchestrator of a container on another machine."""
    place = Docker(**image, inside=SSH(host, config=config))
    return MPMOrchestrator(environment=place, **options)


# All that the tests know of a place: how an orchestrator of it is made.
PLACES: dict[str, Callable[[Real], Make]] = {
    "local": lambda real: functools.partial(create_orchestrator, "local"),
    "docker": lambda real: functools.partial(create_orchestrator, "docker", **real.image),
    "ssh": lambda real: functools.partial(
        create_orchestrator,
        "ssh",
        host=real.sshd.host,
        config=real.sshd.config,
        claude_path=real.sshd.claude,
    ),
    "terminal": lambda real: functools.partial(create_orchestrator, "terminal", trust=True),
    "remote": lambda real: functools.partial(
        create_orchestrator,
        "remote",
        address=real.server.address,
        ca=real.server.ca,
        token_file=real.server.token_file,
    ),
    "kubernetes": lambda real: functools.partial(
        create_orchestrator,
        "kubernetes",
        image=real.cluster.image,
        pull="Never",
        template=real.pod_template,
    ),
    "kubernetes, a pod that runs": lambda real: functools.partial(
        create_orchestrator, "kubernetes", pod=real.pod
    ),
    "docker over ssh": lambda real: functools.partial(
        docker_over_ssh, real.sshd.host, real.sshd.config, real.image
    ),
}
# What needs a Kubernetes, which is built once: `make kubernetes`.
ON_CLUSTER = ("kubernetes", "kubernetes, a pod that runs")


def test_the_documentation_shows_every_place_with_every_contract() -> None:
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text("utf-8").splitlines()
        if line.startswith("|")
    ]
    head, _, *rows, _ = cells
    assert head == ["contract", *PLACES]
    assert [row[0] for row in rows] == [f"`{contract.name}`" for contract in contracts()]
    kept = {cell for row in rows for cell in row[1:]}
    assert all(cell == "✓" or cell.startswith("(") for cell in kept), "make places-table"


@pytest.fixture(scope="module")
def results() -> Iterator[dict[tuple[str, str], Result]]:
    """The outcome of each contract in each place; written down when all were tried."""
    found: dict[tuple[str, str], Result] = {}
    yield found
    if is_complete(list(PLACES), found):
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text(page(list(PLACES), found), "utf-8")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Try every place; those on a cluster where `--cluster` asks for it."""
    if "place" in metafunc.fixturenames:
        asked = bool(metafunc.config.getoption("--cluster"))
        metafunc.parametrize("place", [each for each in PLACES if asked or each not in ON_CLUSTER])


def test_a_place_keeps_a_contract(
    place: str,
    mpm_contract: Contract,
    request: pytest.FixtureRequest,
    results: dict[tuple[str, str], Result],
) -> None:
    result = attempt(mpm_contract, PLACES[place](Real(request)), is_place=False)
    results[place, mpm_contract.name] = result
    assert result.state != "failed", f"{mpm_contract.loss} Because: {result.why}"
