"""The table of facts, and what is known of a binary."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from builds import make_build

from claude_mpm.capabilities.asking import ask_version
from claude_mpm.capabilities.facts import ALL, FACTS, FLOOR, by_version, parse_version, written
from claude_mpm.capabilities.memory import Memory, check_fit, known_build
from claude_mpm.capabilities.probing import Probe
from claude_mpm.capabilities.releases import newest_tried, read_releases
from claude_mpm.errors import ClaudeTooOld
from claude_mpm.testing.build_probe import probe_build

if TYPE_CHECKING:
    from pathlib import Path


def test_each_fact_holds_from_its_release_on() -> None:
    for fact in FACTS:
        major, minor, patch = fact.since
        assert by_version(written(fact.since)).can(fact.name)
        assert by_version(f"{major}.{minor}.{patch + 1}").can(fact.name)
        assert not by_version(f"{major}.{minor}.{patch - 1}").can(fact.name)


def test_of_a_text_that_is_no_version_the_best_is_assumed() -> None:
    assert by_version("").facts == by_version("hello").facts == ALL
    assert by_version("2.1").source == "assumed"
    assert parse_version("2.1.332 (Claude Code)") == (2, 1, 332)


def test_what_was_tried_fits_the_floor() -> None:
    tried = [parse_version(release.version) for release in read_releases().releases]
    assert all(version is not None and FLOOR <= version <= newest_tried() for version in tried)


@pytest.mark.parametrize(
    ("version", "promise"),
    [
        ("2.1.211", "its record does not say which limit ended it"),
        ("2.1.211", "does not drop queued prompts at an interrupt"),
        ("2.1.235", "does not write down what a conversation on the terminal cost"),
        ("2.1.280", "takes a prompt that begins with / for a command"),
        ("2.1.257", "does not number its results"),
        ("2.1.275", "does not say that it overrode a hook"),
        ("2.1.283", ""),
    ],
)
def test_a_promise_that_is_not_kept_is_said_by_name(version: str, promise: str) -> None:
    limits = by_version(version).limits()
    assert promise in limits
    assert bool(limits) == bool(promise)


def test_below_the_floor_there_is_one_line_with_the_mend() -> None:
    for version in ("2.0.45", "2.1.139", "2.1.210"):
        with pytest.raises(ClaudeTooOld) as raised:
            check_fit(by_version(version), "/usr/bin/claude")
        message = str(raised.value)
        assert version in message
        assert "/usr/bin/claude" in message
        assert "claude update" in message
        assert "\n" not in message
    check_fit(by_version(written(FLOOR)), "claude")


def test_a_binary_is_asked_once_for_its_version(tmp_path: Path) -> None:
    claude, memory = make_build(tmp_path / "b", "2.1.300 (Claude Code)"), Memory(tmp_path / "state")
    asked = claude.with_name("claude.asked")
    assert known_build(claude, memory).version == "2.1.300"
    assert known_build(claude, Memory(tmp_path / "state")).version == "2.1.300"
    assert asked.read_text() == "."
    os.utime(claude, (1, 1))  # another file by now
    known_build(claude, memory)
    assert asked.read_text() == ".."


@pytest.mark.parametrize("damaged", ["", "nonsense", "[1]", '{"/x": 3}', "\xff"])
def test_a_damaged_memory_is_none(damaged: str, tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    memory.file.write_bytes(damaged.encode("latin-1"))
    assert known_build(make_build(tmp_path / "b", "2.1.300"), memory).version == "2.1.300"
    assert known_build(make_build(tmp_path / "b", "2.1.300"), Memory(tmp_path)).version == "2.1.300"


def test_a_program_that_ends_badly_is_not_probed(tmp_path: Path) -> None:
    broken = tmp_path / "claude"
    broken.write_text('#!/bin/sh\necho "$*" >>"$0.started"\nexit 3\n')
    broken.chmod(0o755)
    known = known_build(broken, Memory(tmp_path / "state"))
    assert broken.with_name("claude.started").read_text() == "--version\n"
    assert known.probed is None
    assert known.capabilities().source == "assumed"


def test_a_version_that_comes_too_late_is_no_fact_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    claude, memory = tmp_path / "claude", Memory(tmp_path / "state")
    ready = tmp_path / "ready"
    claude.write_text(
        f'#!/bin/sh\n[ -e "{ready}" ] || exec tail -f /dev/null\n'
        'printf . >>"$0.asked"\necho 2.1.300\n'
    )
    claude.chmod(0o755)
    monkeypatch.setattr("claude_mpm.capabilities.memory._VERSION_TIMEOUT", 0.2)
    for _ in range(2):
        assert known_build(claude, memory).version == ""
    assert caplog.text.count("could not be asked what it can do") == 1
    monkeypatch.undo()
    ready.touch()
    for _ in range(2):
        assert known_build(claude, memory).version == "2.1.300"
    assert claude.with_name("claude.asked").read_text() == "."


def test_a_probe_that_took_too_long_is_no_fact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claude, memory = make_build(tmp_path / "b", "9.9.9"), Memory(tmp_path / "state")
    found = [Probe(error="its time was up", late=True), Probe(facts=("tells_version",))]
    monkeypatch.setattr("claude_mpm.capabilities.probing.probe", lambda _: found.pop(0))
    assert known_build(claude, memory).probed is None
    assert known_build(claude, memory).probed == ("tells_version",)
    assert known_build(claude, memory).probed == ("tells_version",)
    assert found == []


def test_a_build_that_says_nothing_for_too_long_is_a_probe_that_came_late(tmp_path: Path) -> None:
    silent = tmp_path / "claude"
    silent.write_text("#!/bin/sh\nexec tail -f /dev/null\n")
    silent.chmod(0o755)
    assert probe_build(str(silent), longest=0.2).late


def test_a_program_that_does_not_answer_is_ended_in_time(tmp_path: Path) -> None:
    deaf = tmp_path / "claude"
    deaf.write_text("#!/bin/sh\ntrap '' TERM\necho 2.1.300\nwhile :; do sleep 600; done\n")
    deaf.chmod(0o755)
    # Long enough for it to answer on a busy machine; unless it is ended, this test is.
    assert ask_version(deaf, os.environ, 5.0) == (None, "2.1.300\n")


def test_what_cannot_be_run_is_an_error_and_leaves_no_descriptor(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="No such file"):
        ask_version(tmp_path / "nothing", os.environ, 1)
    assert len(os.listdir("/proc/self/fd")) == before
