"""What there is of a session beside its journal: processes, FIFOs, files for a while."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from claude_mpm.testing.processes import Process, family, processes

if TYPE_CHECKING:
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
        known = processes()
        path, variable = str(self._folder.path), f"CLAUDE_MPM_SESSION={self._folder.path.name}"
        naming = {p.pid for p in known.values() if p.names(path) or variable in p.environ}
        ours = _ancestors(os.getpid(), known)
        return [known[pid] for pid in family(naming - ours, known)]

    def between(self) -> list[Process]:
        """Return what stands on this machine between the controller and the session's host.

        That is every process that names the session's folder, with its descendants, but for the
        host and what runs under it, and the init process of its container, which is the place
        itself. A session with a link has no host on this side.
        """
        known = processes()
        path = str(self._folder.path)
        naming = {pid for pid, process in known.items() if process.names(path)}
        left = family(naming - _ancestors(os.getpid(), known), known)
        if not self._folder.link_file.exists():
            own = (1, *(self._folder.pids() or ()))
            hosts = {pid for pid in naming if known[pid].inner_pid in own}
            left -= family(hosts, known)
        return [known[pid] for pid in left]

    def found(self) -> list[str]:
        """Return what is left, one line each; empty where nothing is."""
        left = [f"process {each.pid} ({each.command[:80]})" for each in self.processes()]
        for entry in sorted(self._folder.exchange.iterdir()):
            try:
                mode = entry.lstat().st_mode
            except FileNotFoundError:  # it has just gone
                continue
            if stat.S_ISFIFO(mode):
                left.append(f"FIFO {entry.name}")
            elif entry.name in _FOR_A_WHILE:
                left.append(f"file {entry.name}")
        return left


def _ancestors(pid: int, known: dict[int, Process]) -> set[int]:
    found = set()
    while pid in known:
        found.add(pid)
        pid = known[pid].parent
    return found
