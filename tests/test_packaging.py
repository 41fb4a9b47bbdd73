"""What is handed out: the pinned dependencies, the version, the wheel, and a fast import."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import claude_mpm

ROOT = Path(__file__).parent.parent
HEAVY = {
    "asyncio", "click", "email", "http", "importlib.metadata", "msgspec", "rich", "sqlite3", "yaml",
}  # fmt: skip


def pyproject() -> dict[str, object]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert isinstance(project, dict)
    return project


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in the wheel."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=100)
    [path] = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def test_the_lock_pins_everything_by_hash_and_names_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    assert "--index-url" not in text
    pins = re.findall(r"^(\S+?)==\S+.* \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert len(pins) == len(re.findall(r"^[a-zA-Z0-9]", text, re.MULTILINE))
    assert {"claude-agent-sdk", "click", "editables", "hatchling", "mypy", "pytest"} <= set(pins)


def test_every_dependency_is_in_the_lock() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = settings["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
        *(name for group in settings["dependency-groups"].values() for name in group),
    ]
    names = {re.split(r"[^A-Za-z0-9-]", each)[0].lower() for each in wanted}
    text = (ROOT / "requirements.lock").read_text()
    assert names <= set(re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE))


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_what_a_page_links_to_is_there(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_version_is_the_same_everywhere() -> None:
    newest = re.search(r"^## \[?([^\]\s]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest
    assert pyproject()["version"] == claude_mpm.__version__
    assert newest[1] in ("Unreleased", claude_mpm.__version__)


@pytest.mark.parametrize(
    "name",
    [
        "claude_mpm/journal/host.sh",
        "claude_mpm/py.typed",
        "claude_mpm/default_framework/INSTRUCTIONS.md",
        "claude_mpm/default_framework/agents/engineer.md",
    ],
)
def test_the_wheel_has_what_is_not_code(wheel: set[str], name: str) -> None:
    assert name in wheel


def test_the_wheel_has_nothing_but_the_package_and_its_metadata(wheel: set[str]) -> None:
    folders = {name.partition("/")[0] for name in wheel}
    assert folders == {"claude_mpm", f"claude_mpm-{claude_mpm.__version__}.dist-info"}
    assert not [name for name in wheel if name.endswith(".pyc")]


def test_importing_the_package_imports_nothing_heavy() -> None:
    # -I -S: what the site's own start-up files import is not ours.
    code = "import sys; sys.path.insert(0, sys.argv[1]); import claude_mpm; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", code, str(ROOT / "src")]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    assert "claude_mpm" in loaded.stdout.split()
    assert HEAVY.isdisjoint(loaded.stdout.split())
