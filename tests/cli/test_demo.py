"""`claude-mpm demo`, run as a person runs it: the command, the real Claude Code, no key."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from claude_mpm.capabilities.facts import by_version
from claude_mpm.cli.demo import framework_reach
from claude_mpm.config.framework import FrameworkLoader
from claude_mpm.journal.layout import SessionFolder
from claude_mpm.testing import ScriptedModel
from claude_mpm.testing.subject import until

COMMAND = Path(sys.executable).parent / "claude-mpm"
Environment = dict[str, str]


@pytest.fixture
def environment(tmp_path: Path, claude_path: str) -> Environment:
    """A state and a temporary folder of the test's own."""
    (tmp_path / "tmp").mkdir()
    return {
        **os.environ,
        "CLAUDE_PATH": claude_path,
        "CLAUDE_MPM_STATE_DIR": str(tmp_path / "state"),
        "TMPDIR": str(tmp_path / "tmp"),
        # Where the machine has other work.
        "CLAUDE_MPM_TIMEOUT": "100",
        "CLAUDE_MPM_STOP_TIMEOUT": "60",
    }


def run_demo(
    environment: Environment, *arguments: str, stderr: int = subprocess.STDOUT
) -> subprocess.CompletedProcess[str]:
    """Run the demo; what it says to both streams is in `stdout`, in the order in which it came."""
    return subprocess.run(
        [COMMAND, "demo", *arguments], env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=115,
    )  # fmt: skip


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of all processes that name a folder."""
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "args="], capture_output=True, text=True)
    return [line for line in listed.stdout.splitlines() if str(folder) in line]


def test_the_demo_shows_what_there_is_and_leaves_only_its_session(
    environment: Environment, tmp_path: Path, home: Path
) -> None:
    shown = run_demo(environment)
    assert shown.returncode == 0, shown.stdout
    text = shown.stdout
    milestones = [
        "Let me see what there is to import.",
        "⚙ Bash wc -l prices.csv importer.py",
        "⚙ Agent qa: ",
        "  ⚙ Bash grep -nv , prices.csv",
        "⇠ qa completed",
        "BUG: The import stops at the first empty line",
        "✎ bug: The import stops at the first empty line",
        "ENHANCEMENT: The importer should say how many rows it has read",
        "Try next",
        "claude-mpm web ",
    ]
    places = [text.find(milestone) for milestone in milestones]
    assert -1 not in places
    assert places == sorted(places)
    assert "⇠ researcher completed" in text  # in the background, so it ends when it likes
    found = re.search(
        r"✓ framework “# Project manager”.* in the system prompt of (\d) of \1 ", text
    )
    assert found
    assert "✓ verdict   completed" in text
    assert "woken by task-notification" in text
    assert re.search(r"✓ cost      \$0\.0[1-9]", text)
    assert "4 tickets" in text
    assert re.search(r"2 delegations\n.*\nresearcher\tbackground\tcompleted\t.*\nqa\tfore", text)
    assert "\x1b" not in text

    [session] = (tmp_path / "state" / "sessions").iterdir()
    assert f"claude-mpm show {session.name}" in text
    kept = subprocess.run(
        [COMMAND, "tickets", "--session", session.name],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert "The import stops at the first empty line" in kept.stdout
    assert (session / "exchange" / "exit").read_text().strip() == "0"
    assert list((tmp_path / "tmp").iterdir()) == []
    assert list(home.iterdir()) == []
    until(lambda: not processes_of(tmp_path), lambda: f"left: {processes_of(tmp_path)}")


def test_the_demo_works_with_a_framework_of_ones_own_and_as_json(
    environment: Environment, tmp_path: Path
) -> None:
    (tmp_path / "rules.md").write_text("# The rules of our house\n\nBe kind.\n")
    house = str(tmp_path / "rules.md")
    shown = run_demo(environment, "--quiet", "--json", "--framework", house, stderr=subprocess.PIPE)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    [session] = (tmp_path / "state" / "sessions").iterdir()
    [start] = SessionFolder(session).read_meta().starts
    # What this build does not keep is said also when quiet, and not to who reads the record.
    assert shown.stderr.strip() == by_version(start.claude_version).limits()
    record = json.loads(shown.stdout)
    assert record["outcome"] == "completed"
    assert record["framework_found_in"] == record["requests"] >= 3
    assert {each["type"] for each in record["tickets"]} == {"bug", "task", "feature", "enhancement"}
    assert [(each["agent"], each["state"]) for each in record["delegations"]] == [
        ("general-purpose", "completed"),
        ("general-purpose", "completed"),
    ]
    assert "Line 3 has no price" in record["delegations"][1]["result"]
    assert record["cost_usd"] > 0


def test_without_claude_the_demo_says_so_in_one_line(environment: Environment) -> None:
    shown = run_demo({**environment, "CLAUDE_PATH": "/nowhere/claude"})
    assert shown.returncode == 3
    assert shown.stdout.count("\n") == 1
    assert "/nowhere/claude" in shown.stdout


def test_a_framework_that_no_request_has_did_not_reach_the_model() -> None:
    with ScriptedModel() as model:
        assert not framework_reach(FrameworkLoader().load(), model)
