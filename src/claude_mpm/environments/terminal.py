"""This machine, with Claude Code's native interface on a terminal."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING, ClassVar

from claude_mpm.environments.local import Local
from claude_mpm.errors import LaunchError
from claude_mpm.folders import runtime_folder
from claude_mpm.journal.folder_watch import subscribe
from claude_mpm.journal.orphans import MARK
from claude_mpm.own_python import own_environ, own_python
from claude_mpm.terminal.claude_config import answer_first_questions
from claude_mpm.terminal.program import NOT_STARTED, LaunchSpec, write_launch_spec
from claude_mpm.wire.transcript import Transcript

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from claude_mpm.environments.order import HostProcess, Order
    from claude_mpm.journal.exchange import ExchangeFile
    from claude_mpm.journal.layout import SessionFolder

_LOOK = 0.5  # seconds between looks at the host, where nothing wakes us up
_PATIENCE = 60.0  # seconds until the program must have taken the terminal
_TO_A_PERSON = "what a program prints on a terminal is shown to a person, and kept nowhere"


class Terminal(Local):
    """Runs Claude on this machine in its native interface, which screens can be attached to.

    Its journal is Claude's own transcript of the conversation. Claude's configuration is the
    user's, and is not changed unless `trust` is set.

    Args:
        trust: whether Claude's first-start questions are answered with yes before it starts, in
            its configuration: the folder to work in is trusted, and ANTHROPIC_API_KEY is used.

    Attributes:
        screen: whether Claude waits with its start until a screen is attached; set before.
    """

    name = "terminal"
    wire = Transcript.name
    not_meant: ClassVar[Mapping[str, str]] = {
        "everything-arrives-before-the-end": _TO_A_PERSON,
        "a-character-cut-in-two-arrives-whole": _TO_A_PERSON,
        "a-line-of-64-mb-passes": _TO_A_PERSON,
        "input-of-6-mb-passes": "what is typed on a terminal is a person's, and never that long",
        "a-reader-that-does-not-read-holds-nothing-up": _TO_A_PERSON,
        "a-cut-in-the-middle-of-the-output-loses-nothing": _TO_A_PERSON,
        "standard-error-arrives": "a terminal has no standard error of its own",
        "a-question-is-asked-and-answered": "Claude asks on the screen, and a person answers there",
    }

    def __init__(self, *, trust: bool = False) -> None:
        self._trust = trust
        self.screen = False

    def start(self, order: Order) -> HostProcess:
        """Start the host; wait until Claude has taken the terminal.

        Raises:
            LaunchError: it did not.
        """
        runtime_folder()  # refuses, or says where sockets are, before there is a host that would
        meta = order.folder.read_meta()
        is_claude = meta.wire == self.wire
        if self._trust and is_claude:
            answer_first_questions(order.environ, order.cwd)
        write_launch_spec(
            order.folder,
            LaunchSpec(
                command=[order.claude, *order.arguments],
                cwd=order.cwd,
                environ=dict(order.environ),
                linger=order.linger,
                linger_limit=order.linger_limit,
                conversation=meta.claude_session_id if is_claude else "",
                first_event_timeout=order.first_event_timeout,
                screen=self.screen,
                resuming=list(order.resuming),
            ),
        )
        order.folder.note_base(order.environ)
        host = self._spawn(order.folder)
        try:
            self._wait_until_begun(order.folder, host, is_claude)
        except BaseException:
            host.terminate()
            raise
        return host

    def _spawn(self, folder: SessionFolder) -> subprocess.Popen[str]:
        with open(folder.host_errors.open_to_append(), "ab") as log:
            return subprocess.Popen(
                own_python("-m", "claude_mpm.terminal", str(folder.path)),
                env={**own_environ(), MARK.decode().rstrip("="): str(folder.path)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
                text=True,
            )

    def _wait_until_begun(
        self, folder: SessionFolder, host: subprocess.Popen[str], is_claude: bool
    ) -> None:
        deadline = time.monotonic() + _PATIENCE
        begun: Path | ExchangeFile = folder.screen if self.screen else folder.pid_file
        changes = subscribe(folder.path) if self.screen else subscribe(folder.exchange)
        try:
            while not begun.exists():
                status = host.poll()
                if status == NOT_STARTED or (status and is_claude):
                    raise LaunchError(f"{self.name}: {folder.ending(status)}")
                if status is not None:
                    return  # it was quick
                if time.monotonic() > deadline:
                    raise LaunchError(
                        f"{self.name}: Claude took no terminal within {_PATIENCE:g} seconds;"
                        f" see {folder.host_errors}"
                    )
                changes.wait(_LOOK)
        finally:
            changes.close()
