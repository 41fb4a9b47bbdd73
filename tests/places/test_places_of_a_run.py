"""What a run of the tests has started is ended by the run, and not by the first of its workers."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import real_places

if TYPE_CHECKING:
    from pathlib import Path

WORKER: Any = SimpleNamespace(config=SimpleNamespace(workerinput={}))
CONTROLLER: Any = SimpleNamespace(config=SimpleNamespace())


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words that the script of the places was called with; it only makes their folder."""
    folder, called = tmp_path / "places", list[str]()

    def script(*words: str) -> subprocess.CompletedProcess[str]:
        called.append(" ".join(words))
        folder.mkdir(exist_ok=True)
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(real_places, "_PLACES", folder)
    monkeypatch.setattr(real_places, "_STARTED_BY", folder / "started-by")
    monkeypatch.setattr(real_places, "_script", script)
    return called


def test_the_places_of_a_run_are_ended_when_all_workers_have_ended(called: list[str]) -> None:
    real_places._start("docker")
    real_places._start("ssh")
    real_places.pytest_sessionfinish(WORKER)
    assert called == ["start docker", "start ssh"]
    real_places.pytest_sessionfinish(CONTROLLER)
    assert called == ["start docker", "start ssh", "stop"]


def test_places_that_were_there_before_are_left(called: list[str], tmp_path: Path) -> None:
    (tmp_path / "places").mkdir()
    real_places._start("docker")
    real_places.pytest_sessionfinish(CONTROLLER)
    (tmp_path / "places" / "started-by").write_text("another run")
    real_places.pytest_sessionfinish(CONTROLLER)
    assert called == ["start docker"]


def test_a_place_is_started_with_the_home_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was built once is kept there; the test that needs it first has a home of its own."""
    before = real_places._ENVIRON["HOME"]
    script = tmp_path / "script"
    script.write_text('#!/bin/sh\nprintf %s "$HOME"\n')
    script.chmod(0o755)
    monkeypatch.setattr(real_places, "_SCRIPT", script)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert real_places._script("start").stdout == before != str(tmp_path)
