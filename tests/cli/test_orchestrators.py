"""`claude-mpm orchestrators`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from calls import call

from claude_mpm.orchestration import factory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A registry that forgets, and a folder of modules."""
    monkeypatch.setattr(factory, "_registered", dict(factory._registered))
    monkeypatch.setattr(factory, "_failed", {})
    monkeypatch.setattr(factory, "_entry_points_loaded", False)
    modules = tmp_path / "modules"
    modules.mkdir()
    monkeypatch.syspath_prepend(str(modules))
    before = set(sys.modules)
    yield modules
    for name in set(sys.modules) - before:
        del sys.modules[name]


PLUGIN = '''
from claude_mpm import MPMOrchestrator, register_orchestrator

class Loud(MPMOrchestrator):
    """Says everything twice.

    And more.
    """

register_orchestrator("loud", Loud)
'''


def install(modules: Path, entry_points: str) -> None:
    """Put a package with entry points where it is found."""
    info = modules / "other-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[claude_mpm.orchestrators]\n{entry_points}\n")


def test_what_is_built_in_is_listed(capsys: Capture) -> None:
    ended = call(capsys, "orchestrators")
    assert ended.status == 0
    assert [row[0] for row in ended.rows if row[2] == "built in"] == ["local"]


def test_what_a_plugin_registers_is_listed_with_its_module(capsys: Capture, registry: Path) -> None:
    (registry / "loud_plugin.py").write_text(PLUGIN)
    ended = call(capsys, "orchestrators", "--json", "--plugin", "loud_plugin")
    (row,) = (row for row in ended.json if row["name"] == "loud")
    assert row == {
        "name": "loud", "class": "loud_plugin.Loud", "from": "loud_plugin",
        "what": "Says everything twice.",
    }  # fmt: skip


def test_a_broken_package_does_not_hide_the_others(
    capsys: Capture, registry: Path, stand_in: Path
) -> None:
    (registry / "loud_module.py").write_text(PLUGIN.rpartition("register")[0])
    install(registry, "loud = loud_module:Loud\nbroken = no_such_module:Class\nno = os:path")
    ended = call(capsys, "orchestrators")
    assert ended.status == 0
    assert ["loud", "entry point of other"] in [[row[0], row[2]] for row in ended.rows]
    first, second = sorted(ended.err.splitlines())
    assert first.startswith("claude-mpm: orchestrator 'broken' of other cannot be loaded")
    assert second.startswith("claude-mpm: orchestrator 'no'")
    assert call(capsys, "run", "--orchestrator", "loud", "hello").status == 0


def test_a_broken_one_is_refused_where_it_is_wanted(capsys: Capture, registry: Path) -> None:
    install(registry, "broken = no_such_module:Class")
    ended = call(capsys, "run", "--orchestrator", "broken", "hello")
    assert ended.status == 2
    assert "'broken' of other cannot be loaded: ModuleNotFoundError" in ended.err
