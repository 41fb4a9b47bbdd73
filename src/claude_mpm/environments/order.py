"""What a place is asked to start, and what it hands back."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, Protocol

import msgspec

from claude_mpm.journal.layout import SessionFolder  # noqa: TC001 -- msgspec reads it

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


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
