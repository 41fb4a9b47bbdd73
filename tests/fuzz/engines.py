"""What makes inputs: hypothesis, and mutation of the seeds by a seeded generator."""

from __future__ import annotations

import importlib
import time
from random import Random

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from judging import Judge, Target, try_one
from mutation import mutate

MODULES = ("wires", "settings_files", "protocol", "session_folder", "index_file")
_BATCH = 500


def all_targets() -> list[Target]:
    return [target for name in MODULES for target in importlib.import_module(name).TARGETS]


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """Return a strategy for inputs: seeds with a few pieces changed, or anything at all."""
    random = st.integers(0, 2**32).map(Random)
    text = st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace"))
    token = st.sampled_from((b"\n", *target.tokens))
    piece = st.one_of(st.binary(max_size=40), token, text)
    changed = st.builds(
        lambda data, dice: mutate(data, dice, target.seeds, target.tokens),
        st.sampled_from(target.seeds), random,
    )  # fmt: skip
    return st.one_of(changed, st.lists(piece, max_size=20).map(b"".join), st.binary(max_size=300))


def by_hypothesis(judge: Judge, first: int, seconds: float, batch: int = _BATCH) -> None:
    """Try what hypothesis makes, batch after batch with a seed of its own each."""
    ends = time.monotonic() + seconds
    for number in range(first * 1_000_003, first * 1_000_003 + 1_000_000):

        @seed(number)
        @settings(max_examples=batch, database=None, deadline=None, phases=[Phase.generate],
                  suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(inputs(judge.target))
        def run(data: bytes) -> None:
            try_one(judge, data)

        run()
        if time.monotonic() >= ends:
            return


def by_generator(judge: Judge, random: Random, seconds: float) -> None:
    """Try mutations of the seeds, and of mutations."""
    ends = time.monotonic() + seconds
    pool = list(judge.target.seeds)
    while time.monotonic() < ends:
        data = mutate(random.choice(pool), random, judge.target.seeds, judge.target.tokens)
        try_one(judge, data)
        if random.random() < 0.02:
            pool[len(judge.target.seeds) :] = [*pool[len(judge.target.seeds) :][-50:], data]
