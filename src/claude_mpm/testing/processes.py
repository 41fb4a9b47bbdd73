"""The processes of this machine, as the check looks at them."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROC = Path("/proc")


class Process(msgspec.Struct, frozen=True):
    """One process, at one moment.

    Args:
        pid: its number on this machine.
        parent: that of its parent.
        inner_pid: its number where it counts itself, as in a container.
        command: its arguments, joined by spaces.
        environ: the variables that it was started with; empty where nobody may read them.
    """

    pid: int
    parent: int
    inner_pid: int
    command: str
    environ: str = ""

    def names(self, text: str) -> bool:
        """Return whether its command or its environment contains a text."""
        return text in self.command or text in self.environ


def processes() -> dict[int, Process]:
    """Return every process that is no zombie, by its number."""
    found = _of_proc() if (_PROC / "self/status").exists() else _of_ps()
    return {process.pid: process for process in found}


def family(roots: set[int], known: dict[int, Process]) -> set[int]:
    """Return processes with all their descendants."""
    found: set[int] = set()
    new = set(roots)
    while new:
        found |= new
        new = {pid for pid, process in known.items() if process.parent in found} - found
    return found


def commands() -> str:
    """Return the arguments of every process, as everybody on this machine can read them."""
    if (_PROC / "self").exists():
        return "\n".join(_read(entry / "cmdline") for entry in _PROC.glob("[0-9]*"))
    return "\n".join(process.command for process in _of_ps())


def resident_memory(pid: int) -> int:
    """Return how many bytes of memory a process holds; 0 for one that is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        pages = (_PROC / str(pid) / "statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    return int(_ps("-o", "rss=", "-p", str(pid)).strip() or 0) * 1024


def _of_proc() -> Iterator[Process]:
    for entry in _PROC.glob("[0-9]*"):
        status = dict(line.partition(":")[::2] for line in _read(entry / "status").splitlines())
        if not status or status.get("State", "Z").strip()[0] in "ZX":
            continue
        own = (status.get("NSpid") or status["Pid"]).split()[-1]
        command = _read(entry / "cmdline").replace("\0", " ").strip()
        environ = _read(entry / "environ")
        yield Process(int(entry.name), int(status["PPid"]), int(own), command, environ)


def _of_ps() -> Iterator[Process]:
    for line in _ps("-A", "-ww", "-o", "pid=,ppid=,stat=,args=").splitlines():
        pid, parent, state, command = [*line.split(None, 3), ""][:4]
        if not state.startswith("Z"):
            yield Process(int(pid), int(parent), int(pid), command)


def _ps(*arguments: str) -> str:
    return subprocess.run(["ps", *arguments], capture_output=True, text=True, check=False).stdout


def _read(file: Path) -> str:
    """Return what a file of /proc says; nothing where its process is gone or is another's."""
    with suppress(OSError):
        return file.read_bytes().decode("utf-8", "replace")
    return ""
