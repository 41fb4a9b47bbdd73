"""What every fuzz target is held to: no error but the documented ones, and a second at most."""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from claude_mpm.errors import MPMError

if TYPE_CHECKING:
    from types import FrameType

# Processor seconds: other programs may have the machine for a while.
LONGEST, ENDLESS = 1.0, 10.0
Check = Callable[[bytes], None]


@dataclass(frozen=True)
class Target:
    """One reader, with what it is fed.

    Args:
        name: of the target, as the report has it.
        check: feeds the reader one input; raises where it breaks a promise. `MPMError` is none.
        seeds: inputs to begin with.
        tokens: pieces of text that are put into inputs.
    """

    name: str
    check: Check
    seeds: tuple[bytes, ...]
    tokens: tuple[bytes, ...] = ()


@dataclass
class Finding:
    """One way to break a target, with the first input that did.

    Args:
        kind: "crash" or "hang".
        what: the error, in one line.
        where: the last line of the project's own code.
    """

    kind: str
    what: str
    where: str
    data: bytes
    times: int = 1


class Endless(BaseException):
    """An input that did not come to its end."""


@dataclass
class Judge:
    """Gives a target inputs and keeps what breaks it, each way once."""

    target: Target
    inputs: int = 0
    slowest: float = 0.0
    findings: dict[str, Finding] = field(default_factory=dict)

    def __call__(self, data: bytes) -> None:
        """Try one input; nothing is raised."""
        self.inputs += 1
        began = time.process_time()
        try:
            took = self._seconds(data)
            if took > LONGEST:  # again: a collection of garbage, or another thread, is not ours
                took = min(took, self._seconds(data))
        except (Exception, Endless) as error:  # noqa: BLE001 -- what it finds is its purpose
            self.slowest = max(self.slowest, time.process_time() - began)
            kind = "hang" if isinstance(error, Endless) else "crash"
            where = _where(error)
            what = f"{type(error).__name__}: {str(error)[:160]}".replace("\n", " ")
            self._keep(f"{type(error).__name__} {where}", Finding(kind, what, where, data))
            return
        self.slowest = max(self.slowest, took)
        if took > LONGEST:
            self._keep("slow", Finding("hang", f"took {took:.1f} s", self.target.name, data))

    def _seconds(self, data: bytes) -> float:
        """Give the target an input, and return how long it took, in processor seconds."""
        began = time.process_time()
        with suppress(MPMError):
            self.target.check(data)
        return time.process_time() - began

    def _keep(self, key: str, finding: Finding) -> None:
        if key in self.findings:
            self.findings[key].times += 1
        else:
            self.findings[key] = finding


def watch_for_hangs() -> None:
    """Let an endless input end: the main thread gets `Endless` after ten seconds."""

    def alarm(_: int, frame: FrameType | None) -> None:
        raise Endless("".join(traceback.format_stack(frame)[-2:]))

    signal.signal(signal.SIGPROF, alarm)


def try_one(judge: Judge, data: bytes) -> None:
    """Try an input, and give it up where it does not end."""
    signal.setitimer(signal.ITIMER_PROF, ENDLESS)
    try:
        judge(data)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "claude_mpm" in f.filename and "site-packages" not in f.filename]
    last = (ours or frames)[-1]
    return f"{Path(last.filename).name}:{last.lineno} ({last.name})"
