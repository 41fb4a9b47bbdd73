"""A controller in a process of its own, which can be killed without killing the check.

    python -m claude_mpm.testing.driver < ORDER

It makes an orchestrator, gives Claude a prompt, and lives until it is killed.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import IO, Any

import msgspec

from claude_mpm.orchestration.orchestrator import MPMOrchestrator
from claude_mpm.own_python import own_environ, own_python
from claude_mpm.testing.import_spec import ImportSpec  # noqa: TC001 - msgspec reads the annotation


class Drive(msgspec.Struct, frozen=True, kw_only=True):
    """What such a process is to do.

    Args:
        path: where it finds modules, as the check does.
        make: makes the place or the orchestrator.
        is_place: which of the two.
        options: for the orchestrator.
        prompt: what Claude is asked.
    """

    path: list[str]
    make: ImportSpec
    is_place: bool
    options: dict[str, Any]
    prompt: str


def orchestrator_of(make: Any, is_place: bool, options: dict[str, Any]) -> MPMOrchestrator:
    """Return a fresh orchestrator from what a user of the check gave."""
    claude = MPMOrchestrator(environment=make(), **options) if is_place else make(**options)
    assert isinstance(claude, MPMOrchestrator), f"make() returned {claude!r}, no orchestrator"
    return claude


def spawn(drive: Drive, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the process, which writes to `errors` why it failed, where it did."""
    process = subprocess.Popen(
        own_python("-m", "claude_mpm.testing.driver"),
        env=own_environ(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=errors,
    )
    assert process.stdin is not None
    with process.stdin as order:
        order.write(msgspec.json.encode(drive))
    return process


def main(order: IO[bytes]) -> None:
    """Do what the order says, and wait for the end that somebody else makes."""
    drive = msgspec.json.decode(order.read(), type=Drive)
    sys.path[:] = drive.path
    claude = orchestrator_of(drive.make.function(), drive.is_place, drive.options)
    claude.start_or_raise()
    for _ in claude.ask(drive.prompt):
        pass
    signal.pause()


if __name__ == "__main__":
    main(sys.stdin.buffer)
