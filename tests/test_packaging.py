"""What is handed out: the pinned dependencies, the version, the wheel, and a fast import."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import claude_mpm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packaging.utils import NormalizedName

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


def in_git() -> list[Path]:
    """Every file of the project, those that are new too."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout.split(b"\0")
    return [path for name in names if name and (path := ROOT / os.fsdecode(name)).is_file()]


LOCKS = sorted(path for path in in_git() if path.suffix == ".lock")


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_pins_everything_by_hash_and_names_no_address(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert "--index-url" not in text
    pins = re.findall(r"^([\w.-]+)==\S+.* \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert pins
    assert len(pins) == len(re.findall(r"^[a-zA-Z0-9-]", text, re.MULTILINE))


def test_there_is_a_lock_for_all_that_is_installed() -> None:
    """The project's own, and those of what only a benchmark or a fuzzer needs."""
    assert {lock.name for lock in LOCKS} >= {"requirements.lock", "atheris.lock", "pexpect.lock"}


@pytest.mark.parametrize("python", ["3.11.0", "3.11.9", "3.12.0", "3.13.0", "3.14.0"])
@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_the_lock_is_complete(python: str, system: str) -> None:
    """Nothing is resolved when it is installed, so it has to have all that anything depends on."""
    environment = {
        "python_full_version": python,
        "python_version": ".".join(python.split(".")[:2]),
        "sys_platform": system,
        "platform_system": system.title(),
    }
    locked = dict(read_lock(environment))
    missing = []
    for name, extras in [*((name, "") for name in locked), *ASKED_FOR_WITH_EXTRAS]:
        if name not in INSTALLED or INSTALLED[name].version != locked.get(name):
            continue  # for another system or Python than this one, or the newest release
        for text in INSTALLED[name].requires or []:
            needed = Requirement(text)
            if needed.marker and not needed.marker.evaluate({**environment, "extra": extras}):
                continue
            version = locked.get(canonicalize_name(needed.name))
            if version is None or not needed.specifier.contains(version, prereleases=True):
                missing.append(f"{name} needs {text}, the lock has {version}")
    assert missing == []


def read_lock(environment: dict[str, str]) -> Iterator[tuple[NormalizedName, str]]:
    """Yield what the lock has for an environment: the name and the version of each package."""
    for line in re.findall(r"^([a-z0-9].*?) \\$", (ROOT / "requirements.lock").read_text(), re.M):
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate(dict(environment)):
            yield canonicalize_name(wanted.name), str(wanted.specifier).removeprefix("==")


INSTALLED = {canonicalize_name(each.name): each for each in distributions()}
ASKED_FOR_WITH_EXTRAS = sorted(
    {
        (canonicalize_name(needed.name), extra)
        for each in INSTALLED.values()
        for needed in map(Requirement, each.requires or [])
        for extra in needed.extras
        if "extra" not in str(needed.marker)
    }
)


def advises_another_program(line: str) -> bool:
    """Return whether a line says to install `claude-mpm` by its name.

    On the package index, another author's program has that name.
    """
    install = re.search(r"\b(pip3?|pipx|uv|uvx|poetry|pdm|conda|easy_install)\b(.*)", line)
    if not install or re.search(r"\buninstall\b|\bshow\b|\bpip list\b", install[2]):
        return False
    if not re.search(r"\b(install|add|inject|run|--from|--with)\b|uvx", install[0]):
        return False
    return bool(re.search(r"(?<![\w./-])claude[-_]mpm(?![\w/-]|\.\w)", install[2]))


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("pip install claude-mpm", True),
        ("  or run: pip install 'claude-mpm[claude]'", True),
        ("python -m pip install --upgrade claude_mpm==1.0", True),
        ("`pipx install claude-mpm`", True),
        ("uv tool install claude-mpm", True),
        ("uvx claude-mpm run hi", True),
        ("uv add 'claude-mpm>=1'", True),
        ("pip install ./claude-mpm", False),
        ("pip install /src/claude-mpm", False),
        ("pip install -e 'claude-mpm-my-place[test]'", False),
        ("pip install claude_mpm-0.1.0-py3-none-any.whl", False),
        ("pip uninstall claude-mpm", False),
        ("pip show claude-mpm", False),
        ("pip install '.[claude]'", False),
    ],
)
def test_advice_to_install_by_name_is_known(line: str, advice: bool) -> None:
    assert advises_another_program(line) == advice


def test_nothing_advises_to_install_the_other_program_of_this_name() -> None:
    here = Path(__file__)
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in in_git()
        if path != here and path.suffix not in {".png", ".jsonl", ".json"}
        for line in path.read_text("utf-8", "replace").splitlines()
        if advises_another_program(line)
    ]
    assert found == []


def test_no_package_of_ours_depends_on_the_other_program_of_this_name() -> None:
    for path in in_git():
        if path.name in {"pyproject.toml", "pyproject.toml.tmpl"}:
            project = tomllib.loads(path.read_text().replace("$", ""))["project"]
            extras = project.get("optional-dependencies", {}).values()
            needed = [*project["dependencies"], *(name for extra in extras for name in extra)]
            assert not [each for each in needed if re.match(r"claude[-_.]mpm\b", each)], path


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
        "claude_mpm/config/default_framework/INSTRUCTIONS.md",
        "claude_mpm/config/default_framework/agents/engineer.md",
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
