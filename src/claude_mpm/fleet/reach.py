"""Whether places answer: each is asked in a process of its own, which can be ended if it hangs.

python -m claude_mpm.fleet.reach < PLACE
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.errors import MPMError
from claude_mpm.fleet.places import Place  # noqa: TC001 -- msgspec reads it
from claude_mpm.own_python import own_environ, own_python

if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE = 2.0  # seconds for each place


class Reached(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a place has answered.

    Args:
        seconds: how long that took.
        reason: why it counts as not reached; empty where it has answered.
    """

    place: str
    seconds: float
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether it has answered."""
        return not self.reason


class _Question(msgspec.Struct, frozen=True):
    place: Place
    plugins: list[str] = []


def reach_places(
    places: Sequence[Place], plugins: Sequence[str] = (), *, patience: float = PATIENCE
) -> list[Reached]:
    """Ask all places at the same time, and return what they answered, in their order.

    Args:
        plugins: modules that register their orchestrators.
        patience: seconds after which a place counts as not reached.
    """
    begin = time.monotonic()
    asked = [(place, _ask(_Question(place, list(plugins)))) for place in places]
    return [_answer(place, process, begin, patience) for place, process in asked]


def _ask(question: _Question) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        own_python("-m", "claude_mpm.fleet.reach"),
        env=own_environ(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that what it has started ends with it
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin:
        process.stdin.write(msgspec.json.encode(question, enc_hook=str))
    process.stdin = None
    return process


def _answer(
    place: Place, process: subprocess.Popen[bytes], begin: float, patience: float
) -> Reached:
    left = max(0.01, begin + patience - time.monotonic())
    try:
        said, _ = process.communicate(timeout=left)
    except subprocess.TimeoutExpired:
        _end(process)
        reason = f"no answer in {patience:g} s"
        return Reached(place=place.name, seconds=patience, reason=reason)
    try:
        reached = msgspec.json.decode(said, type=Reached)
    except msgspec.DecodeError:
        reason = f"the process that asked it ended with status {process.returncode}"
        return Reached(place=place.name, seconds=time.monotonic() - begin, reason=reason)
    return reached


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def reach(place: Place, plugins: Sequence[str] = ()) -> Reached:
    """Ask one place, for as long as that takes."""
    from claude_mpm.orchestration.factory import find_orchestrator, load_plugins
    from claude_mpm.orchestration.place_settings import take_place_settings

    begin = time.monotonic()
    reason = ""
    try:
        load_plugins(plugins)
        environment = find_orchestrator(place.orchestrator).cls.place()
        options: dict[str, Any] = dict(place.options)
        environment(**take_place_settings(environment, options)).reach()
    except (MPMError, TypeError, ValueError, OSError) as error:
        reason = str(error).strip() or type(error).__name__
    return Reached(place=place.name, seconds=time.monotonic() - begin, reason=reason)


def main() -> None:
    """Answer the question on standard input."""
    question = msgspec.json.decode(sys.stdin.buffer.read(), type=_Question)
    answer = reach(question.place, question.plugins)
    sys.stdout.buffer.write(msgspec.json.encode(answer))


if __name__ == "__main__":
    main()
