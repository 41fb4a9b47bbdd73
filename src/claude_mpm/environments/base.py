"""What a place is: a way to run a command there; the rest follows from it."""

from __future__ import annotations

import os
import signal
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claude_mpm.environments.order import host_command
from claude_mpm.environments.process import HostInPlace
from claude_mpm.environments.variables import carried
from claude_mpm.errors import LaunchError, SettingsError
from claude_mpm.link.answer import MarkedOutput, last_line
from claude_mpm.link.command import run_short
from claude_mpm.printable import exact_line
from claude_mpm.validation import is_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from claude_mpm.environments.far_sessions import FarSession, Listed
    from claude_mpm.environments.order import HostProcess, Order
    from claude_mpm.environments.record_store import RecordStore
    from claude_mpm.journal.layout import SessionFolder

_PATIENCE = 30.0  # seconds for a small question to a place


class Environment(ABC):
    """A place where Claude can run; most places are just a command in front of a command.

    A subclass writes `wrap`. That alone makes a place: the session is laid there, and a link on
    this machine keeps its journal here in step. A place that sees the files of this machine under
    the same paths, as a lower priority does, sets `shares_files`, and needs no link.

    Attributes:
        name: what messages and the record call it.
        wire: how Claude's journal there is read.
        shares_files: whether the place sees the session's folder under its path here.
        keeps_files: whether a command there finds what the one before it has left.
        runs_commands: whether commands are run there beside Claude.
    """

    name: str = ""
    wire: str = "stream-json"
    shares_files: bool = False
    keeps_files: bool = True
    runs_commands: bool = True

    @abstractmethod
    def wrap(self, argv: Sequence[str]) -> list[str]:
        """Return the command of this machine that runs `argv` in the place.

        The command has the standard streams of `argv`, and its exit status. The engine calls it
        for every command: the host's start, messages, signals, small questions.
        """

    def wrap_in(self, folder: SessionFolder, argv: Sequence[str]) -> list[str]:
        """Return the command of this machine that runs `argv` beside the Claude of a session.

        Args:
            folder: the session's; its Claude runs.
        """
        return self.wrap(argv)

    def find_claude(self, asked: str | None) -> str:
        """Return the `claude` to run, as the place knows it; called before each start.

        Args:
            asked: the option `claude_path`.

        Raises:
            ClaudeNotFound: there is certainly none.
        """
        return asked or "claude"

    def binary_here(self, claude: str) -> Path | None:
        """Return the file of this machine that a command is; None where the place has its own.

        Args:
            claude: as `find_claude` returns it.
        """
        return None

    def working_folder(self, asked: str | None) -> str:
        """Return the folder that Claude works in, as the place knows it; empty: its own choice.

        Args:
            asked: the option `cwd`.

        Raises:
            LaunchError: it is known already that there is no such folder.
        """
        return asked or ""

    def folder_here(self, cwd: str) -> Path | None:
        """Return the folder of this machine that a place's folder is; None where it has its own.

        Args:
            cwd: as `working_folder` returns it.
        """
        return Path(cwd) if self.shares_files and cwd else None

    def absolute(self, asked: str | None) -> Path:
        """Return a folder of this machine, the current one by default, as an absolute path.

        Raises:
            LaunchError: the current folder is gone.
            SettingsError: the name is not UTF-8, as Claude Code wants it.
        """
        try:
            # Path.expanduser and Path.is_dir raise for what cannot be a folder.
            folder = Path(os.path.expanduser(asked or ".")).absolute()  # noqa: PTH111
        except FileNotFoundError as error:
            raise LaunchError(
                f"{self.name}: the current folder is gone; change to one that exists"
            ) from error
        if not is_text(str(folder)):
            raise SettingsError(
                f"{self.name}: the name of {exact_line(str(folder))} is not UTF-8, so Claude Code"
                " does not work there; rename it, or set `cwd` to another folder"
            )
        return folder

    def environ(self, asked: Mapping[str, str] | None) -> dict[str, str]:
        """Return what Claude's environment gets from here.

        Args:
            asked: the option `environ`; None for what this process has.
        """
        return carried(asked)

    def expected(self) -> dict[str, str]:
        """Return what the session's statement of where it runs must say; called at each start.

        Its keys are `host`, `container`, `user`, `uid` and `cwd`. A host that finds itself
        elsewhere does not start Claude.
        """
        return {}

    def _host_and_user(self, otherwise: str, first: Sequence[str] = ()) -> dict[str, str]:
        """Return what the place says of its host's name and its account.

        Args:
            otherwise: what the error says where it does not; the answer is added.
            first: a command that has to succeed before; empty for none.

        Raises:
            LaunchError: it does not say so.
        """
        before = '"$@" && ' if first else ""
        script = f"{before}uname -n && id -u"
        lines = self.run(["sh", "-c", script, "first", *first]).decode().splitlines()
        if len(lines) < 2:
            raise LaunchError(f"{self.name}: {otherwise} {lines}")
        return {"host": lines[-2], "uid": lines[-1]}

    def start(self, order: Order) -> HostProcess:
        """Start the host, and Claude with it; return the host's process.

        Raises:
            LaunchError: the place refused.
        """
        if not self.shares_files:
            from claude_mpm.environments.linked import start_linked

            return start_linked(self, order)
        return spawn(self.name, self.wrap(host_command(order)), order)

    def join(self, folder: SessionFolder) -> HostProcess:
        """Return the host of a session that another controller started."""
        if folder.link_file.exists():
            from claude_mpm.environments.linked import LinkedHost

            return LinkedHost(folder)
        return HostInPlace(folder, self)

    def rejoin(self, folder: SessionFolder, timeout: float) -> None:
        """Ensure that the process between the folder and the place, if any, is running.

        Args:
            timeout: seconds to wait for its word whether Claude still runs there.
        """
        if folder.link_file.exists() and folder.exit_status() is None:
            from claude_mpm.environments.linked import LinkedHost

            LinkedHost(folder).wait_for_state(timeout)

    def remove_unstarted(self, folder: SessionFolder) -> bool:
        """Remove what a start has made in the place that was killed before there was a host.

        Returns:
            Whether there was anything.

        Raises:
            LaunchError: the place does not answer, or does not remove it.
        """
        return False

    def signal_in(self, folder: SessionFolder, pid: int, signum: int) -> None:
        """Send a signal to a process of one session.

        Args:
            folder: the session's.
            pid: as the place has written it; it is believed only where it can do no harm.
        """
        self.signal(pid, signum)

    def signal(self, pid: int, signum: int) -> None:
        """Send a signal to a process of the place; one that is gone already is no error."""
        command = f"kill -s {signal.Signals(signum).name[3:]} {pid} 2>/dev/null || :"
        self.run(["sh", "-c", command])

    def records(self, folder: SessionFolder, environ: Mapping[str, str]) -> RecordStore:
        """Return where Claude keeps its records of conversations, so that one can be moved.

        Args:
            folder: the folder of the session that is moved; its Claude does not run.
            environ: Claude's environment, as `environ` returns it.

        Raises:
            LaunchError: nobody else can reach them.
        """
        from claude_mpm.environments.record_store import CommandRecords, LocalRecords

        config = environ.get("CLAUDE_CONFIG_DIR", "")
        home = environ.get("HOME", "")
        if self.shares_files:
            return LocalRecords(Path(config or Path(home or "/nowhere", ".claude")))
        if self.runs_commands and self.keeps_files:
            return CommandRecords(self, config, home)
        raise LaunchError(f"{self.name}: a conversation can be moved neither there nor from there")

    def reach(self) -> None:
        """Make sure that the place answers, with as little as that takes.

        Raises:
            MPMError: it does not.
        """
        self.run(["true"])

    def far_sessions(self, end: int) -> Listed:
        """Return the sessions that are laid in the place, whichever machine started them.

        Those of a place that sees this machine's files are in a state folder of it.

        Args:
            end: how many bytes of each journal's end are read.

        Raises:
            LaunchError: the place does not answer.
        """
        from claude_mpm.environments.far_sessions import Listed, list_far

        if self.shares_files or not self.runs_commands:
            return Listed([])
        return list_far(self, end)

    def link_to(self, far: FarSession, reader: str) -> dict[str, Any]:
        """Return the link's file for a session that another machine has started in the place.

        Args:
            far: as `far_sessions` returns it.
            reader: how this machine is known there, in digits.
        """
        from claude_mpm.environments.far_sessions import shell_spec

        return shell_spec(self, far, reader)

    def run(self, argv: Sequence[str], *, data: bytes = b"") -> bytes:
        """Run a short command in the place and return what it prints, and nothing else.

        Args:
            data: its standard input.

        Raises:
            LaunchError: it cannot be run, failed, or took longer than 30 seconds.
        """
        answer = MarkedOutput()
        command = self.wrap(answer.command(argv))
        try:
            done = run_short(command, answer, data=data, timeout=_PATIENCE)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise LaunchError(f"{self.name}: cannot run {command[0]}: {error}") from error
        printed = done.stdout
        if answer.status is None:  # the command was not run, or not to its end
            reason = said(done.stderr, done.returncode, printed or answer.before)
            raise LaunchError(f"{self.name}: {reason}")
        if answer.status:
            raise LaunchError(f"{self.name}: {said(done.stderr, answer.status, printed)}")
        return printed


def spawn(name: str, command: Sequence[str], order: Order) -> subprocess.Popen[str]:
    """Start a host on this machine, in a process group of its own.

    Raises:
        LaunchError: the command cannot be run.
    """
    order.folder.note_base(order.environ)
    try:
        return subprocess.Popen(
            command,
            cwd=order.cwd or None,
            env=dict(order.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )
    except (OSError, ValueError) as error:  # a NUL character
        reason = getattr(error, "strerror", None) or error
        raise LaunchError(f"{name}: cannot run {command[0]} in {order.cwd}: {reason}") from error


def said(stderr: bytes, status: int, stdout: bytes = b"") -> str:
    """Return the last line of what a failed command said, or at least how it ended."""
    return last_line(stderr, stdout) or (
        f"the command ended with status {status}" if status else "it does not run commands"
    )
