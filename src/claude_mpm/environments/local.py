"""This machine."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from claude_mpm.claude_binary import find_claude
from claude_mpm.environments.base import Environment
from claude_mpm.environments.variables import inherited
from claude_mpm.errors import LaunchError
from claude_mpm.journal.host_files import make_host_files
from claude_mpm.journal.orphans import belongs
from claude_mpm.validation import is_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from claude_mpm.environments.order import HostProcess, Order
    from claude_mpm.journal.layout import SessionFolder


class Local(Environment):
    """Runs commands on this machine, as this user."""

    name = "local"
    shares_files = True

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """Return the command as it is."""
        return list(argv)

    def reach(self) -> None:
        """Return at once: it is this machine."""

    def find_claude(self, asked: str | None) -> str:
        """Return the path of the `claude` that was asked for, is on PATH or in the wheel."""
        return str(find_claude(asked))

    def binary_here(self, claude: str) -> Path | None:
        """Return the file."""
        return Path(claude)

    def working_folder(self, asked: str | None) -> str:
        """Return the folder as an absolute path."""
        folder = self.absolute(asked)
        if not is_folder(folder):
            raise LaunchError(f"{self.name}: there is no folder {folder} to work in")
        return str(folder)

    def environ(self, asked: Mapping[str, str] | None) -> dict[str, str]:
        """Return the whole environment."""
        return inherited(asked)

    def start(self, order: Order) -> HostProcess:
        """Start the host, and Claude with it; what the host needs is made here, if it runs here.

        Raises:
            LaunchError: the host cannot be run.
        """
        # A subclass may run it as somebody else.
        if type(self).wrap is Local.wrap and self.shares_files:
            make_host_files(order.folder, order.environ, order.cwd)
        try:
            return super().start(order)
        except LaunchError:
            order.folder.remove_temporary()
            raise

    def expected(self) -> dict[str, str]:
        """Return the name of this machine."""
        return {"host": os.uname().nodename}

    def signal_in(self, folder: SessionFolder, pid: int, signum: int) -> None:
        """Send the signal, if the process is the session's."""
        if belongs(pid, folder.path):
            self.signal(pid, signum)

    def signal(self, pid: int, signum: int) -> None:
        """Send the signal."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)
