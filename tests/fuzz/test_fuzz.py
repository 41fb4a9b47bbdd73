"""A short run of the fuzzing, the same every time: what `make fuzz` does at length."""

from __future__ import annotations

import signal
import time
from random import Random
from typing import TYPE_CHECKING

import pytest
from engines import all_targets, inputs
from fuzzing import Outcome, report
from hypothesis import HealthCheck, Phase, given, seed, settings
from judging import Judge, Target, try_one, watch_for_hangs
from mutation import mutate

from claude_mpm.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGETS = all_targets()
HYPOTHESIS, MUTATIONS = 40, 150
SLOW = 0.2  # seconds of the processor


@pytest.fixture(autouse=True)
def watched() -> Iterator[None]:
    before = signal.getsignal(signal.SIGPROF)
    watch_for_hangs()
    yield
    signal.signal(signal.SIGPROF, before)


def fuzz(judge: Judge) -> None:
    target, random = judge.target, Random(judge.target.name)
    for data in (b"", *target.seeds):
        try_one(judge, data)
    for _ in range(MUTATIONS):
        data = mutate(random.choice(target.seeds), random, target.seeds, target.tokens)
        try_one(judge, data)

    @seed(1)
    @settings(max_examples=HYPOTHESIS, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(inputs(target))
    def run(data: bytes) -> None:
        try_one(judge, data)

    run()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_no_input_breaks_a_reader(target: Target) -> None:
    judge = Judge(target)
    fuzz(judge)
    assert not judge.findings, list(judge.findings.values())
    assert judge.inputs > MUTATIONS


def _broken(data: bytes) -> None:
    if not data:
        raise StorageError("documented")
    if b"crash" in data:
        raise KeyError("crash")
    began = time.process_time()
    while b"slow" in data and time.process_time() - began < SLOW:
        pass
    while b"hang" in data:
        pass


def test_what_breaks_is_found_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("judging.LONGEST", SLOW / 2)
    judge = Judge(Target("broken", _broken, (b"a",)))
    for data in (b"", b"good", b"crash", b"crash again", b"slow"):
        try_one(judge, data)
    monkeypatch.setattr("judging.ENDLESS", SLOW)
    try_one(judge, b"hang")
    kinds = [(each.kind, each.times) for each in judge.findings.values()]
    assert kinds == [("crash", 2), ("hang", 1), ("hang", 1)]
    found = Outcome(judge.inputs, judge.slowest, list(judge.findings.values()))
    text = report({"broken": {"mutation": found}}, "make fuzz", 60.0)
    assert "6 inputs in 1.0 minutes" in text
    assert "KeyError" in text


def test_the_same_seed_makes_the_same_inputs() -> None:
    target = TARGETS[1]

    def made(number: int) -> list[bytes]:
        random = Random(number)
        return [mutate(target.seeds[0], random, target.seeds, target.tokens) for _ in range(20)]

    assert made(1) == made(1)
    assert made(1) != made(2)
