"""What a place is: a way to run a command there, and to send its processes a signal."""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from claude_mpm.errors import LaunchError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class Environment(ABC):
    """A place where commands run; most places are just a command in front of the command."""

    name: str = ""

    @abstractmethod
    def wrap(self, argv: Sequence[str]) -> list[str]:
        """Return the command of this machine that runs `argv` in the place.

        The engine calls it for every command: the host's start, signals, small questions.
        """

    def launch(
        self, argv: Sequence[str], *, cwd: Path, environ: Mapping[str, str]
    ) -> subprocess.Popen[str]:
        """Start a long-running command in the place, in a process group of its own.

        Args:
            argv: the command and its arguments.
            cwd: the working folder.
            environ: its whole environment.

        Raises:
            LaunchError: the place refused.
        """
        try:
            return subprocess.Popen(
                self.wrap(argv),
                cwd=cwd,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                text=True,
            )
        except OSError as error:
            raise LaunchError(
                f"{self.name}: cannot run {argv[0]} in {cwd}: {error.strerror}"
            ) from error

    @abstractmethod
    def signal(self, pid: int, signum: int) -> None:
        """Send a signal to a process of the place; one that is gone already is no error."""
