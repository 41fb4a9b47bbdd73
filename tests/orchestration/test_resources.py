"""A session that eats the machine is told of, and ended at its limit."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from claude_mpm import Outcome
from claude_mpm.engine.supervision import resources
from claude_mpm.engine.supervision.resources import PERIOD, Limits, ResourceWatch, Usage, read_usage
from claude_mpm.testing import Call

if TYPE_CHECKING:
    import pytest

    from claude_mpm.environments.base import Environment
    from claude_mpm.testing import ScriptedModel
    from conftest import MakeClaude

BUSY = 240.0  # seconds for a few of processor time, where the machine is busy


class Watched:
    def __init__(self) -> None:
        self.said: list[str] = []

    def usage(self) -> Usage:
        return Usage(0, 0, 0)

    def warn(self, found: str) -> None:
        self.said.append(f"warn: {found}")

    def exceed(self, found: str) -> None:
        self.said.append(f"act: {found}")


def judged(soft: Limits, hard: Limits, *looks: tuple[float, Usage]) -> list[str]:
    """Return what is said, and done, at what is seen at some moments."""
    watched = Watched()
    watch = ResourceWatch(watched, soft=soft, hard=hard, logger=logging.getLogger("test"))
    for now, usage in looks:
        watch.judge(usage, now)
    return watched.said


def test_the_log_warns_before_anything_is_ended_and_once() -> None:
    soft, hard = Limits(memory_mb=100), Limits(memory_mb=200)
    looks = [(float(now), Usage(mb, 0, 2)) for now, mb in enumerate([50, 150, 160, 250, 260])]
    assert judged(soft, hard, *looks) == [
        "warn: Claude and its tools use 150 MB in 2 processes, and the limit is 100",
        "act: Claude and its tools use 250 MB in 2 processes, and the limit is 200",
    ]


def test_a_limit_that_was_left_counts_again() -> None:
    looks = [(float(now), Usage(mb, 0, 1)) for now, mb in enumerate([150, 50, 150])]
    assert len(judged(Limits(memory_mb=100), Limits(), *looks)) == 2


def test_processors_are_judged_over_a_whole_period() -> None:
    limit = Limits(cpu_percent=90)
    begin, busy = (0.0, Usage(1, 10, 3)), Usage(1, 10 + PERIOD, 3)
    assert judged(limit, Limits(), begin, (PERIOD - 1, busy)) == []
    assert judged(limit, Limits(), begin, (PERIOD, busy)) == [
        "warn: Claude and its tools use 100 % of a processor in 3 processes, and the limit is 90"
    ]
    # What was long ago does not count.
    idle = [(now, busy) for now in (PERIOD + 1, 2 * PERIOD + 2)]
    assert judged(Limits(cpu_percent=50), Limits(), begin, *idle) != []
    assert judged(Limits(cpu_percent=50), Limits(), *idle) == []


def test_a_fresh_claude_does_not_inherit_the_time_of_the_last() -> None:
    looks = [(0.0, Usage(1, 500, 1)), (1.0, Usage(1, 0, 1)), (PERIOD + 2, Usage(1, 1, 1))]
    assert judged(Limits(cpu_percent=10), Limits(), *looks) == []


class ProcessorClock:
    """Goes on with what the session's processes use, and no faster on a machine that is busy."""

    def __init__(self) -> None:
        self.now = self._before = 0.0

    def read(self, environment: Environment, session_id: str) -> Usage:
        usage = read_usage(environment, session_id)
        self.now += max(0.0, usage.cpu_seconds - self._before)
        self._before = usage.cpu_seconds
        return usage

    def monotonic(self) -> float:
        return self.now


def test_a_tool_that_burns_processors_is_ended_and_the_conversation_goes_on(
    make_claude: MakeClaude, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ProcessorClock()
    monkeypatch.setattr(resources, "INTERVAL", 0.1)
    monkeypatch.setattr(resources, "PERIOD", 4.0)  # more than a fresh one uses
    monkeypatch.setattr(resources, "time", clock)
    monkeypatch.setattr(resources, "read_usage", clock.read)
    model.on("go", Call("Bash", command="while :; do :; done"))
    model.on("Continue", "Without the loop.")
    options: dict[str, Any] = {"cpu_limit_percent": 10, "resume_lost": 5}
    with make_claude(allowed_tools=["Bash"], **options) as claude:
        turn = claude.ask("go").wait(BUSY)
    assert turn.verdict.outcome is Outcome.COMPLETED
    assert turn.text.endswith("Without the loop.")
    assert "% of a processor" in " ".join(turn.verdict.evidence)
