"""Each benchmark runs in its smallest form, so that the suite does not rot; it asserts no time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest

if TYPE_CHECKING:
    from types import ModuleType

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MEASURES = ("a", "b", "l", "m", "b2", "c", "d", "ef", "i2", "gh", "i", "jk", "no", "p", "q")
MIDDLE_HALF = ("b2", "b2 (sdk)", "l", "i2")  # their spread is that of the middle half, of pairs


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The suite's command as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import importlib

    return importlib.import_module("run")


@pytest.fixture
def world(run: Any, tmp_path: Path, claude_path: str) -> Any:
    """The smallest world: peers only where they are installed beside the tests."""
    import importlib

    peers = importlib.import_module("peers").beside()
    emitter = run.build_emitter(tmp_path)
    return run.World("smallest", tmp_path / "run", claude_path, emitter, peers)


def test_every_measure_is_tried_here(run: Any) -> None:
    assert set(run.MEASURES) == set(MEASURES)


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_yields_its_figures(
    run: Any, world: Any, name: str, request: pytest.FixtureRequest
) -> None:
    if name == "p":  # in the places that run
        request.getfixturevalue("docker"), request.getfixturevalue("sshd")
    figures = run.measure(world, [name])
    assert figures, "the C compiler or the SDK is missing"
    for figure in figures:
        assert figure.low <= figure.value <= figure.high or figure.row in (
            "b2",
            "b2 (sdk)",
            "l",
            "i2",
        )


def test_figures_stand_between_the_marks_of_a_page(run: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{run.page.BEGIN}\nold\n{run.page.END}\nafter\n")
    figure = run.Figure("a", "what", 1.234, 1.0, 2.0, 1.15, sides={"ours": "1 s"}, note="How.",
                        bars={"bare <claude>": 0.5, "claude-mpm run": 1.0})  # fmt: skip
    run.page.write(page, [figure], {"cores": "2"}, {"pexpect": "4"})
    text = page.read_text()
    assert text.startswith("before") and text.endswith("after\n") and "old" not in text
    assert "| a | what | 1.23× | 1 to 2× | ≤ 1.15× | **missed** |" in text
    assert "| peer pexpect | 4 |" in text
    assert "![bare <claude> 0.50 s, claude-mpm run 1.00 s](images/benchmark-a.svg)" in text
    drawn = ElementTree.parse(tmp_path / "images" / "benchmark-a.svg")
    bare, ours = drawn.iterfind(".//{*}rect")
    assert (ours.get("class"), int(ours.get("width", 0))) == ("ours", 2 * int(bare.get("width", 0)))


def test_on_the_way_to_run_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, claude_mpm.cli.main, claude_mpm.cli.run, claude_mpm.orchestration.factory\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"asyncio", "ssl", "rich", "yaml", "http.client", "email", "importlib.metadata"}
    assert not heavy.intersection(done.stdout.split())
