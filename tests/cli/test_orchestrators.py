"""`claude-mpm orchestrators`, and its commands `check` and `new`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from calls import call
from claude_mpm.orchestration import factory
from claude_mpm.orchestration.built_in import BUILT_IN
from claude_mpm.testing import contracts

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    assert [row[0] for row in ended.rows if row[2] == "built in"] == sorted(BUILT_IN)


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


CHECKED = ("claude-answers", "the-exit-status-arrives")
ONLY = [word for name in CHECKED for word in ("--only", name)]


def test_a_check_lists_each_contract_with_pass_and_fail_and_why(
    capsys: Capture, registry: Path, claude_path: str
) -> None:
    ended = call(capsys, "orchestrators", "check", "local", *ONLY)
    rows = {
        row[1]: (row[0], row[3]) for row in (line.split("\t") for line in ended.out.splitlines())
    }
    assert rows == dict.fromkeys(CHECKED, ("passed", ""))
    assert ended.status == 0
    assert ended.err == "local keeps 2 of 2 contracts\n"
    (registry / "lazy_plugin.py").write_text(LAZY)
    ended = call(capsys, "orchestrators", "check", "lazy", *ONLY, "--plugin", "lazy_plugin")
    assert ended.status == 1
    assert [line.split("\t")[0] for line in ended.out.splitlines()] == ["failed", "failed"]
    assert ended.out.splitlines()[0].endswith("start() returned False: None")
    assert ended.err == "lazy keeps 0 of 2 contracts\n"


LAZY = """
from claude_mpm import MPMOrchestrator, register_orchestrator

class Lazy(MPMOrchestrator):
    def start(self):
        return False

register_orchestrator("lazy", Lazy)
"""


def test_a_check_as_json(capsys: Capture) -> None:
    ended = call(capsys, "orchestrators", "check", "local", *ONLY, "--json", "--quiet")
    found = {row["contract"]: (row["state"], row["why"]) for row in ended.json}
    assert found == dict.fromkeys(CHECKED, ("passed", ""))
    assert all(row["seconds"] > 0 for row in ended.json)


def test_a_controller_of_the_check_is_made_with_the_same_options(
    capsys: Capture, tmp_path: Path
) -> None:
    option = f"metadata={json.dumps({'ticket': 'A-17'})}"
    only = ("--only", "a-killed-controller-is-replaced-by-the-next")
    assert call(capsys, "orchestrators", "check", "local", "-o", option, *only).status == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("check", "loca"), "did you mean 'local'?"),
        (("check", "local", "--only", "claude-answer"), "did you mean 'claude-answers'?"),
        (("check", "local", "-o", "colour=red"), "an orchestrator has no option 'colour'"),
        (("new", "local"), "'local' is there already (built in)"),
        (("new", "My_Place"), "use small letters, digits and hyphens"),
        (("new", "mine", "--directory", "full"), "full is there already; name another folder"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_reason(
    capsys: Capture, words: tuple[str, ...], message: str
) -> None:
    Path("full").mkdir()
    Path("full", "file").touch()
    ended = call(capsys, "orchestrators", *words)
    assert ended.status == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1


COMMAND = "from claude_mpm.cli.main import main; main()"


@pytest.fixture
def empty_venv(tmp_path: Path) -> Path:
    """The Python of an environment that has what this one has, and nothing of a plugin."""
    folder = tmp_path / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    ours = sysconfig.get_path("purelib")
    # addsitedir, and not a bare path: it reads the .pth files of editable installs as well.
    (packages / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    return folder / "bin" / "python"


@pytest.mark.timeout(600)
def test_a_new_plugin_passes_its_own_tests_and_the_check(
    capsys: Capture, empty_venv: Path, claude_path: str
) -> None:
    assert call(capsys, "orchestrators", "new", "my-place").status == 0
    environ = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "CLAUDE_PATH": claude_path}

    def run(*words: str) -> str:
        done = subprocess.run(
            [str(empty_venv), *words], env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    pip = ("-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index")
    run(*pip, "--no-deps", "--no-build-isolation", "-e", "claude-mpm-my-place")
    listed = run("-c", COMMAND, "orchestrators", "--json")
    origin = {row["name"]: row["from"] for row in json.loads(listed)}
    assert origin["my-place"] == "entry point of claude-mpm-my-place"
    tests = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "claude-mpm-my-place")
    assert f"{1 + len(contracts())} tests collected" in run(*tests, "--collect-only")
    # Its place is the local one, which is held to all contracts beside the others.
    some = run(*tests, "-k", " or ".join(("known_by_its_name", *CHECKED)))
    assert f"{1 + len(CHECKED)} passed" in some
    run("-c", COMMAND, "orchestrators", "check", "my-place", *ONLY)
