"""A tracker's own program, run for one call: its login, its settings, its way to the network."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

from claude_mpm.bridges.trackers import TrackerFailed
from claude_mpm.printable import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PATIENCE = 60.0  # seconds for one call


def call_program(
    command: Sequence[str],
    data: str | None = None,
    *,
    of: str,
    install: str,
    cwd: Path | None = None,
    keeps_open: Sequence[int] = (),
) -> Any:
    """Run a program to its end and return the JSON that it prints.

    Args:
        command: the program and its arguments.
        data: its standard input; None for none.
        of: the address of the tracker, for errors.
        install: what to do where there is no such program.
        cwd: where it runs; None for the current folder.
        keeps_open: descriptors of this process that it has open as long as it runs.

    Raises:
        TrackerFailed: the program is missing, it failed, or there is no answer.
    """
    name = command[0]
    try:
        done = _run(command, data, cwd, keeps_open)
    except FileNotFoundError as error:
        raise TrackerFailed(f"there is no {name}; {install}") from error
    except OSError as error:
        raise TrackerFailed(f"{of}: {name} cannot be run ({error})") from error
    except subprocess.TimeoutExpired as error:
        raise TrackerFailed(f"{name} has not answered for {PATIENCE:.0f} s; push again") from error
    if done.returncode:
        said = _error_in(done.stderr) or f"exit status {done.returncode}"
        raise TrackerFailed(f"{of}: {one_line(said)}; what was filed stays, push again")
    try:
        return json.loads(done.stdout)
    except (ValueError, RecursionError) as error:
        raise TrackerFailed(f"{of}: {name} printed no JSON; push again") from error


def _run(
    command: Sequence[str], data: str | None, cwd: Path | None, keeps_open: Sequence[int]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        input=data,
        stdin=None if data is not None else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=PATIENCE,
        check=False,
        cwd=cwd,
        pass_fds=keeps_open,
    )


def _error_in(text: str) -> str:
    """Return the error in what a program printed, which may be an object with `error`."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text.strip()
    return str(found["error"]) if isinstance(found, dict) and "error" in found else text.strip()
