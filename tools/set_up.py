"""Sets up a virtual environment for this checkout; `tools/setup.sh` finds the Python and runs it.

The packages are those of `requirements.lock`, each at one version and by its hash. pip is told to
follow no dependencies (`--no-deps`): the lock is complete, so nothing is resolved, and no release
that is published later can change or break a set-up. With `--newest`, the newest releases of
everything are installed instead.

`.unfinished` in the environment says that a set-up began, `.installed` that it ended, and of what.
One that was killed is begun again from nothing, since pip takes a package that is half there for
installed.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import IO

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
_OUR_OWN: list[str | Path] = ["--no-deps", "--no-build-isolation", "--editable", ROOT]
_PINNED: list[list[str | Path]] = [
    ["--no-deps", "--require-hashes", "--requirement", LOCK],
    _OUR_OWN,
]
_NEWEST: list[list[str | Path]] = [
    ["--upgrade", "pip"],
    ["--upgrade", "--editable", f"{ROOT}[claude]", "--group", f"{ROOT / 'pyproject.toml'}:dev"],
]
_QUIETLY = ["--quiet", "--no-input", "--disable-pip-version-check"]
# What is in pip's log where the index was not reached, whatever came of it.
_NO_NETWORK = re.compile(
    r"HTTPS?ConnectionPool|connection error: |connection broken by|Failed to connect"
)


class SetUpError(Exception):
    """The environment cannot be set up; the message is one line, and says what to do."""


class Environment:
    """A virtual environment in `folder`, and how far its set-up came.

    Args:
        newest: install the newest releases instead of the pinned ones.
        held: the lock that keeps two set-ups apart; a pip that outlives this program keeps it.
    """

    def __init__(self, folder: Path, newest: bool, held: IO[bytes]) -> None:
        self.folder = folder
        self.newest = newest
        self._held = held
        self._python = folder / "bin" / "python"
        self._unfinished = folder / ".unfinished"
        self._installed = folder / ".installed"
        self._log = folder / "setup.log"

    def is_ready(self) -> bool:
        """Return whether exactly what is wanted is installed, and runs."""
        if not self._installed.is_file():
            return False
        return self._installed.read_text("utf-8") == self._key() and self._has_pip()

    def set_up(self) -> None:
        """Install everything; raises SetUpError."""
        self._begin()
        if not self._python.exists():
            print(f"setup: making {self.folder.name} with Python {_version()}", flush=True)
            self._run([sys.executable, "-m", "venv", self.folder], "cannot be made")
        print("setup: installing about 100 packages and Claude Code (250 MB)", flush=True)
        for what in _NEWEST if self.newest else _PINNED:
            command = [self._python, "-m", "pip", "install", *_QUIETLY, "--log", self._log, *what]
            self._run(command, "is not complete")
        if not (self.folder / "bin" / "claude-mpm").exists():
            raise SetUpError(
                f"pip installed into another place than {self.folder}; see `pip config list` for "
                "`target`, `prefix` or `root`"
            )
        self._unfinished.write_text(self._key(), "utf-8")
        self._unfinished.replace(self._installed)

    def _begin(self) -> None:
        """Leave an environment that was never touched, or a whole one, marked as unfinished."""
        if not self.folder.exists() or not any(self.folder.iterdir()):
            _check_ensurepip()
            self.folder.mkdir(parents=True, exist_ok=True)
        elif self._unfinished.exists() or (self._installed.exists() and not self._has_pip()):
            _check_ensurepip()
            print(f"setup: {self.folder.name} is not whole; beginning again", flush=True)
            self._unfinished.touch()
            self._clear()
        elif not self._has_pip():
            raise SetUpError(
                f"{self.folder} is no virtual environment with Python 3.11 or newer and pip; "
                f"remove it, and it is made: rm -r '{self.folder}'"
            )
        self._unfinished.touch()
        self._installed.unlink(missing_ok=True)
        self._log.unlink(missing_ok=True)

    def _clear(self) -> None:
        """Remove all but the mark, which has to outlive a kill here."""
        for path in self.folder.iterdir():
            if path == self._unfinished:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _has_pip(self) -> bool:
        code = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
        try:
            done = subprocess.run(
                [self._python, "-I", "-c", code], capture_output=True, check=False
            )
        except OSError:
            return False
        return done.returncode == 0

    def _key(self) -> str:
        """Return what is to be installed, and where: a checkout that moved is set up again."""
        lock = b"newest" if self.newest else LOCK.read_bytes()
        wanted = hashlib.sha256(lock + (ROOT / "pyproject.toml").read_bytes())
        return f"{ROOT}\n{self.folder}\n{wanted.hexdigest()}\n"

    def _run(self, command: list[str | Path], what: str) -> None:
        log = self._log.open("a+", encoding="utf-8", errors="replace")
        # A user's `user = true` means nothing in an environment, and would stop pip there.
        with log, subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "PIP_USER": "0"}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            pass_fds=[self._held.fileno()],
        ) as process:  # fmt: skip
            said, _ = process.communicate()
            if process.returncode != 0:
                log.write(said)
                log.seek(0)
                why = explain(said, log.read())
                raise SetUpError(f"{self.folder.name} {what}: {why}; see {self._log}")


def explain(said: str, log: str) -> str:
    """Return why pip or venv failed, in one line, from all that it said and logged."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    if "DO NOT MATCH THE HASHES" in said:
        return (
            "a package is another file than the one in requirements.lock; do not install it, "
            "look at the index in `pip config list`"
        )
    if _NO_NETWORK.search(log):
        return (
            "the package index was not reached; look at the network, or at pip's own settings "
            "(pip config list), and run it again"
        )
    return errors[0] if errors else lines[-1] if lines else "it said nothing"


def _check_ensurepip() -> None:
    """Raise SetUpError where this Python cannot make environments, before anything is made."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        raise SetUpError(
            f"{sys.executable} has no {error.name}, which makes virtual environments; install it "
            "(on Debian and Ubuntu: apt-get install python3-venv), or name another Python: "
            "PYTHON=/path/to/python"
        ) from error


def _version() -> str:
    return ".".join(str(part) for part in sys.version_info[:3])


def main(arguments: list[str] | None = None) -> int:
    """Set up the environment unless it is ready; return the exit status."""
    parser = argparse.ArgumentParser(prog="setup", description="Sets up a virtual environment.")
    parser.add_argument("folder", nargs="?", default=".venv", help="default: .venv")
    parser.add_argument("--newest", action="store_true", help="the newest releases, not the lock")
    options = parser.parse_args(arguments)
    try:
        with LOCK.open("r+b") as held:
            _wait_for(held)
            environment = Environment(ROOT / options.folder, options.newest, held)
            if not environment.is_ready():
                environment.set_up()
    except (SetUpError, OSError) as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("setup: interrupted; the next run begins again", file=sys.stderr)
        return 130
    return 0


def _wait_for(held: IO[bytes]) -> None:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("setup: another set-up of this checkout runs; waiting for its end", flush=True)
        fcntl.flock(held, fcntl.LOCK_EX)


if __name__ == "__main__":
    sys.exit(main())
