"""A short run of the chaos: what `make chaos` shows at length."""

from __future__ import annotations

import os
import subprocess
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from chaos import places
from chaos.__main__ import BY_DEFAULT, SCENARIOS
from chaos.cases import Case, play
from chaos.evidence import gather
from chaos.figures import Figures, report
from chaos.kubernetes_world import KubernetesWorld, Lookout, Part
from chaos.world import StandInWorld
from claude_mpm.errors import UsageError
from claude_mpm.journal import orphans
from claude_mpm.orchestration.orchestrator import MPMOrchestrator
from claude_mpm.testing.fake_kubectl import make_pod
from claude_mpm.testing.faults import Dice, kill
from claude_mpm.testing.processes import processes
from claude_mpm.testing.subject import until
from false_cluster import lay_cluster

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.journal.layout import SessionFolder

SEED, SECONDS = 20, 60.0
NOBODY = 1 << 30  # more than any process can have as its number
SESSION = "0b5c2ae4-6e0e-4bd2-8f0d-5b9a5a0f7c11"


@pytest.mark.parametrize(
    ("name", "cases", "share"),
    [
        ("controller", 3, 0.0), ("claude", 4, 0.0), ("stop", 6, 0.0), ("rivals", 3, 0.0),
        ("faults", 6, 0.0), ("volume", 4000, 0.0), ("batch", 3, 0.0),
        ("fleet", 2, 0.5),
    ],
)  # fmt: skip
def test_what_is_promised_holds(
    request: pytest.FixtureRequest, name: str, cases: int, share: float
) -> None:
    for place in ("docker", "sshd") if name == "fleet" else ():
        request.getfixturevalue(place)
    figures = SCENARIOS[name][0](cases, Dice(SEED, name), share)
    assert figures.ok, figures.problems


def test_a_killed_claude_code_goes_on_in_a_fresh_one() -> None:
    figures = SCENARIOS["claude"][0](1, Dice(SEED, "real"), 1.0)
    assert figures.counts["kills, Claude Code"] == 1
    assert figures.ok, figures.problems


def test_what_users_suffer_from_ends_and_is_told() -> None:
    """Hangs, missing results, wrong verdicts: each with the real Claude Code where that has it."""
    figures = SCENARIOS["pains"][0](1, Dice(SEED, "pains"), 1.0)
    assert figures.ok, figures.problems
    header, *rows = figures.cases
    assert len(rows) == len({row[0] for row in rows}) == sum(figures.played.values())
    assert {row[1] for row in rows} == {"stand-in", "Claude Code"}
    assert header[2:4] == ("expected", "got")


def test_a_case_with_another_verdict_is_broken() -> None:
    figures = Figures(title="", must_not=("wrong verdicts", "hung"))
    play([Case(name="all is well", prompt="hello", expected="stalled", because="")], figures)
    assert not figures.ok
    assert figures.counts["wrong verdicts"] == 1
    assert figures.cases[1][:4] == ("all is well", "stand-in", "stalled", "completed")


def test_a_power_cut_that_takes_the_last_start_with_it_loses_no_event() -> None:
    """The journal ends before the place where its record says that Claude was started."""
    with StandInWorld() as world:
        options, folder = world.options(SESSION), world.folder(SESSION)
        with MPMOrchestrator(**options) as claude:
            assert claude.ask("hello").wait(SECONDS).verdict.ok
            assert list(islice(claude.ask("stream"), 1))
            claude.detach()
        end_all(folder)
        begin = folder.journal.size()
        folder.journal.path.write_bytes(folder.journal.path.read_bytes() + b'{"type":' + b"x" * 300)
        for _ in range(2):
            with MPMOrchestrator(**options, resume=True) as claude:
                assert list(islice(claude.turns_before[0], 1))
                claude.detach()
            end_all(folder)
            os.truncate(folder.journal.path, begin + 10)
            begin -= 10
        with MPMOrchestrator(**options, resume=True) as claude:
            assert list(islice(claude.turns_before[0], 1))
        assert gather(world, SESSION, world.path / "verdicts").lost_events == []


def end_all(folder: SessionFolder) -> None:
    while left := orphans.marked().get(folder.path):
        kill(left)


def test_what_is_broken_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops that end nothing: the scenario must not call that a success."""
    monkeypatch.setattr("claude_mpm.journal.orphans.marked", lambda: _Everything())
    figures = SCENARIOS["stop"][0](1, Dice(SEED, "broken"), 0.0)
    assert not figures.ok
    assert figures.counts["processes left"]


class _Everything(dict[object, list[int]]):
    def get(self, *_: object) -> list[int]:
        return [NOBODY]


def test_the_same_seed_falls_the_same_way() -> None:
    def throw(dice: Dice) -> list[object]:
        return [dice.moment(0, 1), dice.number(1, 6), dice.happens(0.5)]

    assert throw(Dice(1, "a", 2)) == throw(Dice(1, "a", 2))
    assert throw(Dice(1, "a", 2)) != throw(Dice(1, "a", 3))
    assert throw(Dice(1, "a")) != throw(Dice(2, "a"))
    assert throw(Dice(1, "a").part(2)) == throw(Dice(1, "a", 2))


def test_the_report_has_every_figure_and_says_what_is_broken() -> None:
    good, bad = Figures(title="Good", must_not=("losses",)), Figures(title="Bad", must_not=("x",))
    good.counts["kills"] = 3
    for seconds in (0.5, 2.0, 1.0):
        good.measure("stop", seconds)
    bad.found("x", 2, "here")
    good.measured["memory"] = "3 MB"
    good.played["stand-in"] = 3
    played = Figures(title="Played", cases=[("case", "got"), ("one", "lost")], must_not=("hung",))
    text = report([good, bad, played], 7, "make chaos N=3 SEED=7")
    assert "`make chaos N=3 SEED=7`, seed 7; claude-mpm " in text
    assert "Claude Code 2." in text
    assert "played by: stand-in 3\n" in text
    assert "| case | got |\n| --- | --- |\n| one | lost |" in text
    assert "; hung 0\n" in text
    assert "| memory | 3 MB |" in text
    for row in ("| kills | 3 |", "| losses | 0 |", "| stop, median | 1.00 s |", "| x | 2 |"):
        assert row in text
    assert "| stop, longest | 2.00 s |" in text
    assert "**broken**" in text
    assert "- here: x: 2" in text


def test_a_program_of_the_cluster_is_killed_and_started_again_as_it_was(tmp_path: Path) -> None:
    command = ["sh", "-c", "while :; do echo is there; sleep 0.1; done"]
    part = Part(tmp_path / "part")
    for _ in range(2):
        part.start(command)
        until(lambda: "is there" in read(tmp_path / "part.log"), "it does not run")
        pid = part.pid
        assert part.kill() == command
        assert pid not in processes()
        (tmp_path / "part.log").unlink()


def read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def test_a_key_that_can_be_seen_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is worth less than a look that finds nothing whatever there is."""
    folder = lay_cluster(tmp_path / "cluster", monkeypatch)
    (tmp_path / "kubernetes.env").write_text(f"KUBECONFIG=x\nIMAGE=x\nCLAUDE=x\nFOLDER={folder}\n")
    monkeypatch.setattr(places, "_PLACES", tmp_path)
    with KubernetesWorld() as world, Lookout(world) as hidden:
        until(lambda: hidden.looks, "the cluster is not asked")
    assert not hidden.seen
    make_pod(folder, "one", {"metadata": {"name": "one", "annotations": {"key": world.key}}})
    (folder / "part.log").write_text(f"GET /exec?command={world.key}")
    command = ["sh", "-c", "read -r _", "sh", world.key]
    with Lookout(world) as open_, subprocess.Popen(command, stdin=subprocess.PIPE):
        until(lambda: len(open_.seen) == 2, "the key is not seen")
    assert open_.seen == {"what the cluster says", "a list of processes", "the log part.log"}


def test_the_cluster_is_played_where_it_runs_and_is_named() -> None:
    assert "cluster" not in BY_DEFAULT
    with pytest.raises(UsageError, match="the real Claude Code alone"):
        SCENARIOS["cluster"][0](1, Dice(SEED, "cluster"), 0.0)


def test_a_cluster_that_does_not_run_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_PLACES", tmp_path)
    with pytest.raises(UsageError, match=r"tools/places\.sh start kubernetes"):
        SCENARIOS["cluster"][0](1, Dice(SEED, "cluster"), 1.0)
