"""Places that are asked side by side, each by a process of its own, which can be ended if it hangs.

python -m claude_mpm.fleet.MODULE < QUESTION
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.fleet.places import Place  # noqa: TC001 -- msgspec reads it
from claude_mpm.own_python import own_environ, own_python

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_mpm.environments.base import Environment

PATIENCE = 2.0  # seconds for each place
NO_ANSWER = "the process that asked it gave no answer"
_ENDING = 1.0  # seconds for the output of a process that was killed to end


class Question(msgspec.Struct, frozen=True):
    """What a process is asked about a place.

    Args:
        plugins: modules that register orchestrators.
        end: how many bytes of each journal's end are read, where sessions are asked for.
    """

    place: Place
    plugins: list[str] = []
    end: int = 0


class Answer(msgspec.Struct, frozen=True):
    """How the process that asked a place has ended.

    Args:
        data: what it printed; empty where it did not end in its time.
        seconds: how long it took.
        reason: why there is no answer; empty where there is one.
    """

    data: bytes
    seconds: float
    reason: str = ""


def ask_each(module: str, questions: Sequence[Question], patience: float) -> list[Answer]:
    """Ask about all places at the same time, and return the answers in the order of the questions.

    Args:
        module: which module of this package answers.
        patience: seconds after which a place counts as one that does not answer.
    """
    asked = [_Asked(module, question, patience) for question in questions]
    for each in asked:
        each.join()
    return [each.answer for each in asked]


class _Asked(threading.Thread):
    """One process, started at once; a thread of its own reads its answer, so none waits for others.

    The thread alone writes `answer`, and `ask_each` reads it once it has joined the thread.

    Attributes:
        answer: the outcome, once the thread has ended; until then, that there is none.
    """

    def __init__(self, module: str, question: Question, patience: float) -> None:
        super().__init__(name="claude-mpm-ask", daemon=True)
        self._begin, self._patience = time.monotonic(), patience
        self._question = msgspec.json.encode(question, enc_hook=str)
        self._process = subprocess.Popen(
            own_python("-m", f"claude_mpm.fleet.{module}"),
            env=own_environ(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that what it has started ends with it
        )
        self.answer = Answer(b"", patience, f"no answer in {patience:g} s")
        self.start()

    def run(self) -> None:
        """Read the answer, or end the process when its time is up; called in the thread."""
        process = self._process
        left = max(0.01, self._begin + self._patience - time.monotonic())
        try:
            said, _ = process.communicate(self._question, timeout=left)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):  # what left its group has its pipe
                process.communicate(timeout=_ENDING)
            return
        reason = f"the process that asked it ended with status {process.returncode}"
        seconds = time.monotonic() - self._begin
        self.answer = Answer(said, seconds, reason if process.returncode or not said else "")


def environment_of(place: Place, plugins: Sequence[str]) -> Environment:
    """Return a named place as the environment that its sessions run in.

    Raises:
        MPMError, TypeError, ValueError: its options make none.
    """
    from claude_mpm.orchestration.factory import find_orchestrator, load_plugins
    from claude_mpm.orchestration.place_settings import take_place_settings

    load_plugins(plugins)
    environment = find_orchestrator(place.orchestrator).cls.place()
    options: dict[str, Any] = dict(place.options)
    return environment(**take_place_settings(environment, options))
