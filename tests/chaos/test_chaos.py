"""A short run of the chaos: what `make chaos` shows at length."""

from __future__ import annotations

import pytest

from claude_mpm.testing.chaos import Dice
from claude_mpm.testing.chaos.__main__ import SCENARIOS
from claude_mpm.testing.chaos.figures import Figures, report

SEED = 20


@pytest.mark.parametrize(
    ("name", "cases", "share"),
    [("controller", 3, 0.0), ("claude", 4, 0.0), ("stop", 6, 0.0), ("rivals", 3, 0.0)],
)
def test_what_is_promised_holds_where_a_stand_in_plays_claude(
    name: str, cases: int, share: float
) -> None:
    figures = SCENARIOS[name][0](cases, Dice(SEED, name), share)
    assert figures.ok, figures.problems


def test_a_killed_claude_code_goes_on_in_a_fresh_one() -> None:
    figures = SCENARIOS["claude"][0](1, Dice(SEED, "real"), 1.0)
    assert figures.counts["kills, Claude Code"] == 1
    assert figures.ok, figures.problems


def test_what_is_broken_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops that end nothing: the scenario must not call that a success."""
    monkeypatch.setattr("claude_mpm.journal.leftovers.marked", lambda: _Everything())
    figures = SCENARIOS["stop"][0](1, Dice(SEED, "broken"), 0.0)
    assert not figures.ok
    assert figures.counts["processes left"]


class _Everything(dict[object, list[int]]):
    def get(self, *_: object) -> list[int]:
        return [1]


def test_the_same_seed_falls_the_same_way() -> None:
    def throw(dice: Dice) -> list[object]:
        return [dice.moment(0, 1), dice.number(1, 6), dice.happens(0.5)]

    assert throw(Dice(1, "a", 2)) == throw(Dice(1, "a", 2))
    assert throw(Dice(1, "a", 2)) != throw(Dice(1, "a", 3))
    assert throw(Dice(1, "a")) != throw(Dice(2, "a"))


def test_the_report_has_every_figure_and_says_what_is_broken() -> None:
    good, bad = Figures(title="Good", must_not=("losses",)), Figures(title="Bad", must_not=("x",))
    good.counts["kills"] = 3
    for seconds in (0.5, 2.0, 1.0):
        good.measure("stop", seconds)
    bad.found("x", 2, "here")
    text = report([good, bad], 7, "make chaos N=3 SEED=7")
    assert "`make chaos N=3 SEED=7`, seed 7" in text
    for row in ("| kills | 3 |", "| losses | 0 |", "| stop, median | 1.00 s |", "| x | 2 |"):
        assert row in text
    assert "| stop, longest | 2.00 s |" in text
    assert "**broken**" in text
    assert "- here: x: 2" in text
