"""What there is of a session beside its journal: processes, FIFOs, files for a while."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from claude_mpm.testing.processes import Process, family, processes

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.journal.layout import SessionFolder

_FOR_A_WHILE = ("pid", "closed", "environ")


class Remains:
    """Finds what belongs to one session on this machine.

    Args:
        folder: the session's.
    """

    def __init__(self, folder: SessionFolder) -> None:
        self._folder = folder

    def processes(self) -> list[Process]:
        """Return the processes that name the session, other than this one and its ancestors."""
        table = processes()
        path, variable = str(self._folder.path), f"CLAUDE_MPM_SESSION={self._folder.path.name}"
        naming = {
            p.pid for p in table.values() if p.names(path) or variable in p.environ.split("\0")
        }
        ours = _ancestors(os.getpid(), table)
        return [table[pid] for pid in family(naming - ours, table)]

    def between(self) -> list[Process]:
        """Return what stands on this machine between the controller and the session's host.

        That is every process that names the session's folder, with its descendants, but for the
        host and what runs under it, and the init process of its container, which is the place
        itself. A session with a link has no host on this side.
        """
        table = processes()
        path = str(self._folder.path)
        naming = {pid for pid, process in table.items() if process.names(path)}
        left = family(naming - _ancestors(os.getpid(), table), table)
        if not self._folder.link_file.exists():
            own = (1, *(self._folder.pids() or ()))
            hosts = {pid for pid in naming if table[pid].inner_pid in own}
            left -= family(hosts, table)
        return [table[pid] for pid in left]

    def found(self) -> list[str]:
        """Return what is left, one line each; empty where nothing is."""
        left = [f"process {each.pid} ({each.command[:80]})" for each in self.processes()]
        for entry in self._entries():
            try:
                mode = entry.lstat().st_mode
            except FileNotFoundError:  # it has just gone
                continue
            if stat.S_ISFIFO(mode):
                left.append(f"FIFO {entry.name}")
            elif entry.name in _FOR_A_WHILE:
                left.append(f"file {entry.name}")
        return left

    def _entries(self) -> list[Path]:
        """Return the files of the exchange; none where a start has not come to make its folder."""
        try:
            return sorted(self._folder.exchange.iterdir())
        except FileNotFoundError:
            return []


def _ancestors(pid: int, table: dict[int, Process]) -> set[int]:
    ancestors = set()
    while pid in table:
        ancestors.add(pid)
        pid = table[pid].parent
    return ancestors
