"""The set-up of a checkout: what it installs, what it says where it cannot, and how it heals.

Each test sets up a small project of its own from a package index of its own, a folder of files.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import package_index

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
SECONDS = 100.0
# A build backend of thirty lines, in place of hatchling: the project is installed from its folder.
PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "claude-mpm"
version = "1"
"""
BACKEND = """\
import zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "claude_mpm-1-py3-none-any.whl"
    info = {
        "METADATA": "Metadata-Version: 2.1\\nName: claude-mpm\\nVersion: 1\\n",
        "WHEEL": "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        "entry_points.txt": "[console_scripts]\\nclaude-mpm = wanted:main\\n",
    }
    with zipfile.ZipFile(f"{folder}/{name}", "w") as archive:
        for file, text in info.items():
            archive.writestr(f"claude_mpm-1.dist-info/{file}", text)
        archive.writestr("claude_mpm-1.dist-info/RECORD", "")
    return name
"""


class Checkout:
    """A small project with this project's own scripts for the set-up, and its package index."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "project"
        self.home = folder / "user"
        self.home.mkdir()
        (self.path / "tools").mkdir(parents=True)
        for name in ("setup.sh", "set_up.py"):
            shutil.copy(ROOT / "tools" / name, self.path / "tools" / name)
        (self.path / "pyproject.toml").write_text(PYPROJECT)
        (self.path / "backend.py").write_text(BACKEND)
        files = folder / "index" / "files"
        main = "def main():\n    import deeper\n    print('wanted', deeper.VALUE)\n"
        self.wheels = [
            package_index.write_wheel(
                files, "wanted", "1.0", {"wanted.py": main}, ["deeper[more]>=1"]
            ),
            package_index.write_wheel(
                files, "deeper", "1.0", {"deeper.py": "VALUE = 1\n"}, ["extra>=1; extra == 'more'"]
            ),
            package_index.write_wheel(files, "extra", "1.0", {"extra.py": "", "big.py": ""}),
        ]
        (self.path / "requirements.lock").write_text("".join(map(package_index.pin, self.wheels)))
        newer = [
            package_index.write_poison(files, name) for name in ("wanted", "deeper", "extra", "pip")
        ]
        self.index = package_index.write_index(folder / "index", [*self.wheels, *newer])
        self.environment = {
            "PATH": os.defpath,
            "HOME": str(self.home),
            "PYTHON": sys.executable,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": self.index,
            "PIP_RETRIES": "0",
            "PIP_DEFAULT_TIMEOUT": "1000",  # an index that is silent is so until a test ends that
            "PIP_NO_COMPILE": "1",
        }

    @property
    def venv(self) -> Path:
        return self.path / ".venv"

    def command(self, *arguments: str) -> list[str]:
        return ["/bin/sh", str(self.path / "tools" / "setup.sh"), *arguments]

    def set_up(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, **variables}
        return subprocess.run(
            self.command(*arguments), env={k: v for k, v in environment.items() if v},
            capture_output=True, text=True, check=False, timeout=SECONDS,
        )  # fmt: skip

    def works(self) -> bool:
        said = subprocess.run([self.venv / "bin" / "claude-mpm"], capture_output=True, check=False)
        return said.stdout == b"wanted 1\n"


@pytest.fixture
def fresh(tmp_path: Path) -> Checkout:
    """A checkout that was never set up."""
    return Checkout(tmp_path)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with nothing but pip; to make one takes long."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder


@pytest.fixture
def checkout(fresh: Checkout, bare: Path) -> Checkout:
    """A checkout with an environment that has nothing but pip."""
    shutil.copytree(bare, fresh.venv, symlinks=True)
    return fresh


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, bare: Path) -> Checkout:
    """A checkout that is set up; whoever changes it sets it up again."""
    made = Checkout(tmp_path_factory.mktemp("whole"))
    shutil.copytree(bare, made.venv, symlinks=True)
    assert made.set_up().returncode == 0
    return made


def refused(ended: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.startswith("setup: ")
    assert ended.stderr.count("\n") == 1, ended.stderr
    for part in parts:
        assert part in ended.stderr


def test_what_is_not_in_the_lock_is_not_looked_at(checkout: Checkout) -> None:
    ended = checkout.set_up()
    assert ended.returncode == 0, ended.stderr
    assert checkout.works()


def test_an_extra_in_the_lock_changes_nothing(checkout: Checkout) -> None:
    pins = [
        package_index.pin(wheel, "[more]" * (wheel is checkout.wheels[1]))
        for wheel in checkout.wheels
    ]
    (checkout.path / "requirements.lock").write_text("".join(pins))
    assert checkout.set_up().returncode == 0
    assert checkout.works()


def test_a_second_set_up_does_nothing(whole: Checkout) -> None:
    ended = whole.set_up(PIP_INDEX_URL="http://127.0.0.1:9/")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_changed_lock_is_installed(checkout: Checkout) -> None:
    assert checkout.set_up().returncode == 0
    files = checkout.wheels[0].parent
    newer = package_index.write_wheel(files, "deeper", "1.1", {"deeper.py": "VALUE = 1\nNEW = 2\n"})
    package_index.write_index(files.parent, [*checkout.wheels, newer])
    pins = [package_index.pin(each) for each in (checkout.wheels[0], newer, checkout.wheels[2])]
    (checkout.path / "requirements.lock").write_text("".join(pins))
    assert checkout.set_up().returncode == 0
    python = checkout.venv / "bin" / "python"
    code = "import deeper; print(deeper.NEW)"
    assert subprocess.check_output([python, "-c", code], text=True) == "2\n"


def test_a_user_installation_in_pips_settings_stops_nothing(checkout: Checkout) -> None:
    assert checkout.set_up(PIP_USER="1").returncode == 0
    assert checkout.works()


def test_pip_that_installs_elsewhere_is_noticed(checkout: Checkout, tmp_path: Path) -> None:
    refused(checkout.set_up(PIP_TARGET=str(tmp_path / "else")), "pip config list", "target")


def test_a_checkout_that_moved_is_set_up_again(checkout: Checkout) -> None:
    assert checkout.set_up().returncode == 0
    checkout.path = checkout.path.rename(checkout.path.with_name("moved"))
    assert checkout.set_up().returncode == 0
    assert checkout.works()


def test_a_python_without_ensurepip(fresh: Checkout, tmp_path: Path) -> None:
    (tmp_path / "modules").mkdir()
    missing = "raise ModuleNotFoundError(\"No module named 'ensurepip'\", name='ensurepip')\n"
    (tmp_path / "modules" / "ensurepip.py").write_text(missing)
    ended = fresh.set_up(PYTHONPATH=str(tmp_path / "modules"))
    refused(ended, "no ensurepip", "apt-get install python3-venv", "PYTHON=")
    assert not fresh.venv.exists()


def test_a_python_that_can_is_preferred_to_a_newer_one_that_cannot(
    checkout: Checkout, tmp_path: Path
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    write_program(programs / "python3.13", 'case "$2" in *ensurepip*) exit 1 ;; esac')
    write_program(programs / "python3.12", f'exec {sys.executable} "$@"')
    ended = checkout.set_up(PYTHON="", PATH=f"{programs}:{os.defpath}")
    assert ended.returncode == 0, ended.stderr
    assert checkout.works()


@pytest.mark.parametrize("named", [False, True])
def test_a_python_that_is_too_old(fresh: Checkout, tmp_path: Path, named: bool) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    old = programs / "python3"
    write_program(old, 'case "$1" in --version) echo "Python 3.9.18" ;; *) exit 1 ;; esac')
    for name in ("sh", "dirname"):
        (programs / name).symlink_to(str(shutil.which(name)))
    ended = fresh.set_up(PYTHON=str(old) if named else "", PATH=str(programs))
    refused(ended, str(old) if named else "Python 3.9.18", "3.11 or newer")


def test_no_python_at_all(fresh: Checkout, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "dirname").symlink_to(str(shutil.which("dirname")))
    refused(fresh.set_up(PYTHON="", PATH=str(tmp_path / "bin")), "no python3", "PYTHON=")


def test_a_python_that_is_not_there(fresh: Checkout) -> None:
    refused(fresh.set_up(PYTHON="/no/such/python"), "/no/such/python", "name another")


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/simple", "https://no-such-host.invalid/simple"]
)
def test_no_network(checkout: Checkout, address: str) -> None:
    ended = checkout.set_up(PIP_INDEX_URL=address)
    refused(ended, "not reached", "network", "pip config list", "setup.log")


def test_a_package_that_the_index_does_not_have(checkout: Checkout) -> None:
    package_index.write_index(checkout.wheels[0].parents[1], [checkout.wheels[1]])
    (checkout.wheels[0].parents[1] / "simple" / "wanted" / "index.html").write_text("")
    refused(checkout.set_up(), "wanted==1.0", "setup.log")


def test_a_package_that_is_another_file(checkout: Checkout) -> None:
    wheel = checkout.wheels[1]
    package_index.write_wheel(wheel.parent, "deeper", "1.0", {"deeper.py": "VALUE = 'evil'\n"})
    refused(checkout.set_up(), "another file than the one in requirements.lock")


def test_a_full_disk_or_a_read_only_folder_is_one_line(fresh: Checkout) -> None:
    fresh.venv.symlink_to("/proc/self")
    refused(fresh.set_up(), ".venv")


def test_a_folder_that_is_no_environment_is_left_alone(fresh: Checkout) -> None:
    fresh.venv.mkdir()
    (fresh.venv / "notes.txt").write_text("mine")
    refused(fresh.set_up(), "no virtual environment", f"rm -r '{fresh.venv}'")
    assert (fresh.venv / "notes.txt").read_text() == "mine"


def test_an_environment_of_somebody_elses_is_used(checkout: Checkout) -> None:
    (checkout.venv / "notes.txt").write_text("mine")
    assert checkout.set_up().returncode == 0
    assert checkout.works()
    assert (checkout.venv / "notes.txt").read_text() == "mine"


def test_an_environment_whose_python_is_gone_is_made_again(checkout: Checkout) -> None:
    assert checkout.set_up().returncode == 0
    (checkout.venv / "bin" / "python").unlink()
    (checkout.venv / "bin" / "python").symlink_to("/no/such/python")
    ended = checkout.set_up()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "beginning again" in ended.stdout
    assert checkout.works()


@pytest.fixture
def silent_index() -> Iterator[socket.socket]:
    """An index that takes calls and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_set_up_that_was_killed_is_begun_again(
    checkout: Checkout, silent_index: socket.socket, how: signal.Signals
) -> None:
    slow = f"http://127.0.0.1:{silent_index.getsockname()[1]}/simple"
    with subprocess.Popen(
        checkout.command(), env={**checkout.environment, "PIP_INDEX_URL": slow},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True, text=True,
    ) as killed:  # fmt: skip
        connection, _ = silent_index.accept()
        os.killpg(killed.pid, how)
        _, said = killed.communicate(timeout=SECONDS)
        connection.close()
    if how == signal.SIGINT:
        assert (killed.returncode, said) == (130, "setup: interrupted; the next run begins again\n")
    # What pip had half done, it would take for whole.
    half = checkout.venv / "lib" / f"python3.{sys.version_info[1]}" / "site-packages"
    (half / "extra-1.0.dist-info").mkdir()
    (half / "extra-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: extra\nVersion: 1.0\n"
    )
    ended = checkout.set_up()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "beginning again" in ended.stdout
    assert (half / "extra.py").exists()
    assert checkout.works()


def test_two_set_ups_at_once_go_one_after_the_other(
    checkout: Checkout, silent_index: socket.socket
) -> None:
    slow = f"http://127.0.0.1:{silent_index.getsockname()[1]}/simple"
    with subprocess.Popen(
        checkout.command(), env={**checkout.environment, "PIP_INDEX_URL": slow},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as first:  # fmt: skip
        connection, _ = silent_index.accept()
        with subprocess.Popen(
            checkout.command(), env=checkout.environment, stdout=subprocess.PIPE, text=True
        ) as second:
            assert second.stdout
            assert "another set-up" in second.stdout.readline()
            connection.close()
            assert first.wait(SECONDS) == 1
            # Now it is its turn; to wait for its end would show no more.
            assert "beginning again" in second.stdout.readline()
            second.terminate()


def write_program(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
