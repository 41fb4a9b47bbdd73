"""Sets this project up as a newcomer would, in every combination that can be tried here.

    make check-setup                     all jobs, one line each
    make check-setup ARGS=--quick        this Python alone, with the oldest and the newest pip
    make check-setup ARGS='NAME …'       the named jobs; --list names them

Each job clones what is here, changes that are not committed too, and runs `make demo` and a part of
`make test` there, against an index made up for it: it has the files of requirements.lock, and of
everything a newer release that is broken. What is not in the lock must not even be looked at.

The packages are downloaded once, by pip with the settings that it has on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from package_index import write_index, write_poison

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PIP = "23.0.1"  # that of Debian 12
# The oldest pip does not run on newer ones: Python 3.12 has no `pkgutil.ImpImporter` any more.
NEWEST_FOR_OLDEST_PIP = (3, 11)
PYTHONS = ("python3.11", "python3.12", "python3.13", "python3.14")
# What is installed beside a project where one builds, and would be taken from the index there.
BUILDERS = ("pip", "setuptools", "wheel", "flit-core", "hatch-vcs")
# What of the tests needs no other place, and tells most of an installation in a short time.
TESTS = (
    "tests/test_packaging.py tests/test_setup.py tests/test_settings.py tests/wire "
    "tests/real/test_ten_turns.py tests/real/test_subagents.py tests/real/test_permissions.py"
)
QUICK_TESTS = "tests/test_packaging.py tests/test_claude_binary.py"
IMAGE = "claude-mpm-debian-12"
TIMEOUT = 1800  # seconds for one command


class JobFailed(Exception):
    """A job did not end well; the message is one line."""


@dataclass(frozen=True)
class Python:
    """An interpreter, and its version as far as wheels and markers ask for it."""

    path: str
    full: str

    @property
    def short(self) -> str:
        """Major and minor version."""
        return ".".join(self.full.split(".")[:2])


@dataclass
class Work:
    """The folder in which everything is made, and what is in it already.

    Args:
        wheels: files of the lock, by the version of Python that they are for.
    """

    folder: Path
    wheels: dict[str, list[Path]] = field(default_factory=dict)

    def source(self) -> Path:
        """Return a repository with what is in this checkout now."""
        source = self.folder / "source"
        if not source.exists():
            listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
            for name in filter(None, run(listed, ROOT).split("\0")):
                target = source / name
                target.parent.mkdir(parents=True, exist_ok=True)
                if (ROOT / name).exists():
                    shutil.copy2(ROOT / name, target)
            run(["git", "init", "--quiet", "--initial-branch", "main"], source)
            run(["git", "add", "--all"], source)
            person = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost"]
            run(["git", *person, "commit", "--quiet", "--message", "What is here"], source)
        return source

    def index(self, python: str) -> str:
        """Return the address of an index for a version of Python, as in "3.11.2"."""
        if python not in self.wheels:
            self.wheels[python] = self._download(python)
        names = {wheel.name.partition("-")[0].replace("_", "-") for wheel in self.wheels[python]}
        poison = [write_poison(self.folder / "poison", each) for each in {*names, *BUILDERS}]
        return write_index(self.folder, [*self.wheels[python], *poison])

    def _download(self, python: str) -> list[Path]:
        """Fetch the files of the lock that this version of Python takes."""
        folder = self.folder / f"wheels-{python}"
        wanted = self.folder / f"wanted-{python}.txt"
        wanted.write_text("".join(pins_for(python)))
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        options = ["--require-hashes", "--only-binary", ":all:", "--dest", str(folder)]
        run([*command, *options, "--python-version", python, "--requirement", str(wanted)], ROOT)
        return sorted(folder.glob("*.whl"))

    def pip(self, version: str) -> Path:
        """Return the folder with the wheel of a pip; "newest" is a version, too."""
        folder = self.folder / f"pip-{version}"
        if not folder.exists():
            wanted = "pip" if version == "newest" else f"pip=={version}"
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            run([*command, "--dest", str(folder), wanted], ROOT)
        return folder


def pins_for(python: str) -> Iterator[str]:
    """Yield the pins of the lock that count for a version of Python here, without their markers."""
    text = (ROOT / "requirements.lock").read_text("utf-8")
    short = ".".join(python.split(".")[:2])
    for pin in re.findall(r"^[a-zA-Z0-9](?:.*\\\n)*.*", text, re.MULTILINE):
        head, _, hashes = pin.partition(" \\\n")
        wanted = Requirement(head)
        marker = wanted.marker
        if marker is None or marker.evaluate(
            {"python_full_version": python, "python_version": short}
        ):
            yield f"{wanted.name}{wanted.specifier} \\\n{hashes}\n"


def locked(python: str) -> dict[str, str]:
    """Return the version of each package that the lock has for a version of Python."""
    pins = (pin.partition(" ")[0].partition("==") for pin in pins_for(python))
    return {name: version for name, _, version in pins}


def run(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> str:
    """Run a command to its end and return what it printed; raises JobFailed where it failed."""
    ended = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", check=False, timeout=TIMEOUT,
    )  # fmt: skip
    if ended.returncode != 0:
        log = ROOT / "reports" / "check-setup.log"
        log.parent.mkdir(exist_ok=True)
        log.write_text(ended.stdout, "utf-8")
        said = [line.strip() for line in ended.stdout.splitlines() if line.strip()] or ["nothing"]
        why = next((each for each in said if each.startswith("setup: .venv")), said[-1])
        raise JobFailed(f"`{' '.join(command)}` ended with {ended.returncode}: {why} (see {log})")
    return ended.stdout


def newcomer(work: Work, index: str, python: str) -> dict[str, str]:
    """Return the environment of somebody who has nothing but Python, git and make."""
    return {
        "PATH": os.defpath,
        "HOME": str(work.folder / "home"),
        "TMPDIR": tempfile.gettempdir(),
        "PYTHON": python,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": index,
        "PIP_NO_CACHE_DIR": "1",
    }


def with_pip(work: Work, python: Python, pip: str, tests: str) -> str:
    """Set up with one Python and one pip; return what was seen."""
    folder = Path(tempfile.mkdtemp(prefix="job-", dir=work.folder)) / "claude-mpm"
    environment = newcomer(work, work.index(python.full), python.path)
    Path(environment["HOME"]).mkdir(exist_ok=True)
    run(["git", "clone", "--quiet", str(work.source()), str(folder)], work.folder)
    inside = str(folder / ".venv" / "bin" / "python")
    if pip != "own":
        run([python.path, "-m", "venv", ".venv"], folder, environment)
        install = [inside, "-m", "pip", "install", "--quiet", "--no-index", "--find-links"]
        wanted = "pip" if pip == "newest" else f"pip=={pip}"
        run([*install, str(work.pip(pip)), "--upgrade", wanted], folder, environment)
    check_demo(run(["make", "demo"], folder, environment))
    check_versions(
        run([inside, "-m", "pip", "list", "--format", "json"], folder, environment), python
    )
    run([inside, "-m", "pip", "check"], folder, environment)
    said = run(["make", "test", f"ARGS=-q -p no:cacheprovider {tests}"], folder, environment)
    version = run([inside, "-m", "pip", "--version"], folder, environment).split()[1]
    shutil.rmtree(folder.parent)
    return f"Python {python.full}, pip {version}; {last_line(said)} ({tests})"


def check_demo(said: str) -> None:
    """Raise JobFailed where the demo did not come to its end."""
    if "✓ verdict   completed" not in said:
        raise JobFailed(f"`make demo` printed no verdict: {last_line(said)}")


def check_versions(listed: str, python: Python) -> None:
    """Raise JobFailed where something else is installed than what is in the lock."""
    start = listed.index("[{")
    installed, _ = json.JSONDecoder().raw_decode(listed[start:])
    found = {re.sub(r"[-_.]+", "-", each["name"]).lower(): each["version"] for each in installed}
    wanted = locked(python.full)
    others = {name for name in found if wanted.get(name) != found[name]}
    missing = wanted.keys() - found.keys()
    if missing or not others <= {"claude-mpm", "pip", "setuptools"}:
        raise JobFailed(f"not as in the lock: {sorted(others)}; missing: {sorted(missing)}")


def last_line(text: str) -> str:
    """Return the last line of a text that has something in it."""
    return text.strip().rpartition("\n")[2].strip("= ")


def in_debian(work: Work, tests: str) -> str:
    """Set up in a new container of Debian 12, without a network; return what was seen."""
    with engine() as environment:
        run([str(ROOT / "tools" / "places" / "debian.sh"), IMAGE], ROOT, environment)
        container = ["docker", "run", "--rm", "--pull", "never", "--network", "none"]
        code = "import platform; print(platform.python_version())"
        asked = run([*container, IMAGE, "python3", "-c", code], ROOT, environment)
        work.index(last_line(asked))
        steps = (
            "git clone --quiet file:///made/source claude-mpm && cd claude-mpm && make demo "
            f"&& make test ARGS='-q -p no:cacheprovider {tests}' "
            "&& .venv/bin/python -m pip --version"
        )
        mounted = [f"--volume={work.folder}:/made:ro", "--env=PIP_INDEX_URL=file:///made/simple"]
        work.source()
        named = ["--init", f"--name={work.folder.name}", "--workdir=/root"]
        try:
            said = run([*container, *named, *mounted, IMAGE, "sh", "-c", steps], ROOT, environment)
        finally:  # also where the time was up: the container would go on
            remove = ["docker", "rm", "--force", work.folder.name]
            subprocess.run(remove, env=environment, capture_output=True, check=False)
        check_demo(said)
        *_, tested, pip = said.strip().splitlines()
        return f"Python {last_line(asked)}, {pip.split(' from')[0]}; {tested.strip('= ')} ({tests})"


@contextmanager
def engine() -> Iterator[dict[str, str]]:
    """Give the environment of a Docker Engine of the tests; it ends, if it did not run before."""
    places = str(ROOT / "tools" / "places.sh")
    ran = subprocess.run([places, "status", "docker"], check=False, capture_output=True)
    run([places, "start", "docker"], ROOT)
    try:
        lines = (ROOT / ".places" / "docker.env").read_text("utf-8").splitlines()
        host = next(line.partition("=")[2] for line in lines if line.startswith("DOCKER_HOST="))
        yield {**os.environ, "DOCKER_HOST": host}
    finally:
        if ran.returncode != 0:
            run([places, "stop"], ROOT)


def pythons() -> list[Python]:
    """Return one Python of each version that is found: on PATH, and those of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found: dict[str, Python] = {}
    for name in PYTHONS:
        paths = [path for path in (shutil.which(name),) if path]
        paths += [str(path) for path in sorted(pyenv.glob(f"*/bin/{name}"))]
        for path in paths:
            code = "import ensurepip, venv, platform; print(platform.python_version())"
            asked = subprocess.run([path, "-c", code], capture_output=True, text=True, check=False)
            if asked.returncode == 0:
                version = asked.stdout.strip()
                found.setdefault(name, Python(path, version))
    return list(found.values())


@dataclass(frozen=True)
class Job:
    """One combination: a Python here with a pip ("own" is the one that it brings), or Debian."""

    name: str
    python: Python | None = None
    pip: str = "own"

    def do(self, work: Work) -> str:
        """Set up and return what was seen; raises JobFailed."""
        if self.python is None:
            return in_debian(work, TESTS)
        return with_pip(work, self.python, self.pip, QUICK_TESTS)


def jobs(quick: bool) -> Iterator[Job]:
    """Yield what there is to do."""
    here = Python(str(Path(sys.base_prefix) / "bin" / "python3"), platform.python_version())
    for python in [here] if quick else pythons():
        is_old = tuple(map(int, python.short.split("."))) <= NEWEST_FOR_OLDEST_PIP
        for pip in [OLDEST_PIP] * is_old + ["own"] * (not quick) + ["newest"]:
            yield Job(f"python-{python.short}-pip-{pip}", python, pip)
    if not quick:
        yield Job("debian-12")


def main(arguments: list[str] | None = None) -> int:
    """Do the jobs; return 1 where one of them failed."""
    parser = argparse.ArgumentParser(
        prog="check-setup", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="jobs; by default all")
    parser.add_argument("--quick", action="store_true", help="this Python, oldest and newest pip")
    parser.add_argument("--list", action="store_true", help="name the jobs and do nothing")
    options = parser.parse_args(arguments)
    found = {job.name: job for job in jobs(options.quick)}
    if unknown := set(options.names) - found.keys():
        parser.error(f"no job {', '.join(sorted(unknown))}; there are: {', '.join(found)}")
    if options.list:
        print("\n".join(found))
        return 0
    with tempfile.TemporaryDirectory(prefix="check-setup-", dir="/var/tmp") as folder:
        work = Work(Path(folder))
        went_well = [done(found[name], work) for name in options.names or found]
    return int(not all(went_well))


def done(job: Job, work: Work) -> bool:
    """Do one job, print its line, and return whether it went well."""
    start = time.monotonic()
    try:
        seen = job.do(work)
    except (JobFailed, OSError, subprocess.TimeoutExpired) as error:
        print(f"✗ {job.name}: {error}", flush=True)
        return False
    print(f"✓ {job.name}: {seen}, {time.monotonic() - start:.0f} s", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
