"""What a place is asked to start, the command that does so, and what the place hands back."""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING, Any, Protocol

import msgspec

import claude_mpm.journal
from claude_mpm.journal.layout import SessionFolder  # noqa: TC001 -- msgspec reads it

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HOST_SCRIPT = os.path.join(os.path.dirname(claude_mpm.journal.__file__), "host.sh")  # noqa: PTH118, PTH120


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One start of Claude in a session.

    Args:
        folder: the session's folder on this machine; it is prepared.
        claude: the command, as the place knows it.
        arguments: for Claude; files of the session by their path on this machine.
        cwd: the folder to work in, as the place knows it; empty for the place's own choice.
        environ: Claude's variables; the whole environment on this machine, additions elsewhere.
        linger: seconds to wait for the next follower once the last one is gone.
        linger_limit: seconds that Claude then has to end on its own.
        first_event_timeout: seconds for Claude to take a prompt, where it is typed; None for no
            limit.
        resuming: what else Claude is given where its host decides that it resumes.
    """

    folder: SessionFolder
    claude: str
    arguments: tuple[str, ...]
    cwd: str
    environ: Mapping[str, str]
    linger: float
    linger_limit: float
    first_event_timeout: float | None = None
    resuming: tuple[str, ...] = ()


def host_command(order: Order, script: str = HOST_SCRIPT, folder: str = "") -> list[str]:
    """Return the command that starts the host, which starts Claude.

    Args:
        script: where `host.sh` is, as the place knows it.
        folder: where the session's folder is, as the place knows it; empty where it is here.
    """
    there = folder or str(order.folder.path)
    given = (
        {}
        if not folder
        else {
            str(file): f"{folder}/given/{file.name}"
            for file in (order.folder.framework, order.folder.agents)
        }
    )
    arguments = [given.get(argument, argument) for argument in order.arguments]
    timing = [_seconds(order.linger), _seconds(order.linger_limit)]
    return ["sh", script, there, *timing, order.claude, *arguments]


def _seconds(value: float) -> str:
    """Return a number as every `sleep` reads it: no exponent, no needless fraction."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


class HostProcess(Protocol):
    """The host of a session, as a live session sees it: what `subprocess.Popen` has of it."""

    stdout: IO[Any] | None

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | Any: ...
    @property
    def stdin(self) -> IO[Any] | None: ...
    @property
    def stderr(self) -> IO[Any] | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, signum: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class Reachable(Protocol):
    """A place in which a command can be run; every environment is one."""

    name: str
    shares_files: bool

    def wrap(self, argv: Sequence[str]) -> list[str]: ...
    def run(self, argv: Sequence[str], *, data: bytes = b"") -> bytes: ...
