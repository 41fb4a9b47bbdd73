"""SIGTERM and Ctrl-C of a command with sessions: each ends the command, and its sessions once.

A server releases its sessions instead, as it does when its client goes.
"""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from claude_mpm.orchestration.orchestrator import MPMOrchestrator

TERMINATED = 128 + signal.SIGTERM  # the exit status after SIGTERM
_AGAIN = 0.01  # seconds until an exception that was lost is raised again


class Terminated(BaseException):
    """The process received SIGTERM; as with `KeyboardInterrupt`, nothing takes it for an error."""


@contextmanager
def ends_in_order(end: Callable[[], object]) -> Iterator[None]:
    """Let SIGTERM and Ctrl-C have a server come to its end within the block, and count then.

    Args:
        end: lets the block come to its end; called by the handler of signals, in the main thread,
            at each signal.

    Raises:
        Terminated: the first signal was SIGTERM.
        KeyboardInterrupt: it was that of Ctrl-C.
    """
    received: list[int] = []

    def note(signum: int, _frame: FrameType | None) -> None:
        received.append(signum)
        end()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if received:
        raise KeyboardInterrupt if received[0] == signal.SIGINT else Terminated


class EndSignals:
    """Has both signals raise an exception, and ends what the command has left behind then.

    The exception may come at any place, also behind a start and before a `try`, within a stop, or
    where Python drops it. So the sessions are known here, and are ended at the end of the command.
    """

    def __init__(self) -> None:
        self._sessions: list[MPMOrchestrator] = []
        self._catches = False
        self._terminated = False
        self._lost: type[BaseException] = KeyboardInterrupt
        self._before: dict[signal.Signals, Any] = {}  # the handlers

    def catch(self) -> None:
        """Have SIGTERM end what is started from now on; called by the main thread."""
        self._catches = True
        self._before = {
            signal.SIGTERM: signal.signal(signal.SIGTERM, self._on_terminate),
            signal.SIGALRM: signal.signal(signal.SIGALRM, self._on_lost),
        }
        sys.unraisablehook = self._on_unraisable

    def add(self, claude: MPMOrchestrator) -> None:
        """Have a session ended, or left running where it ran before, at the end of the command."""
        if self._catches:
            self._sessions.append(claude)

    def end_sessions(self) -> None:
        """End what the command has not ended or left running itself; called once, at its end.

        The signals do nothing meanwhile: what they ask for is done, and each step of it is bounded.
        """
        if not self._catches:
            return
        self._terminated = True
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            with ExitStack() as each:  # an error of one keeps none of the others
                for claude in self._sessions:
                    each.callback(end_or_leave, claude)
        finally:
            signal.signal(signal.SIGINT, before)
            for signum, handler in self._before.items():
                signal.signal(signum, handler)
            sys.unraisablehook = sys.__unraisablehook__
            self._catches = False

    def _on_terminate(self, _signum: int, _frame: FrameType | None) -> None:
        if not self._terminated:  # a second one would cut short what the first one asks for
            self._terminated = True
            raise Terminated

    def _on_lost(self, _signum: int, _frame: FrameType | None) -> None:
        raise self._lost

    def _on_unraisable(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Keep what was raised where Python drops it, as it does in a finalizer."""
        if not issubclass(unraisable.exc_type, (KeyboardInterrupt, Terminated)):
            sys.__unraisablehook__(unraisable)
            return
        self._lost = unraisable.exc_type
        signal.setitimer(signal.ITIMER_REAL, _AGAIN)


def end_or_leave(claude: MPMOrchestrator) -> bool:
    """End a Claude that this process has started; detach from one that ran before.

    Returns whether it is left running. One that was ended or left already is not touched.
    """
    if claude.attached and claude.running:
        claude.detach()
        return True
    claude.stop()
    return False
