"""Every program in `examples/` runs as it stands: real Claude Code, scripted model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from claude_mpm.testing import Call

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_mpm.testing import ScriptedModel

EXAMPLES = Path(__file__).parents[1] / "examples"
COMMAND = Path(sys.executable).with_name("claude-mpm")


@pytest.fixture
def run(model: ScriptedModel, home: Path, claude_path: str) -> Callable[..., str]:
    """Runs a command with nothing of this machine's but the scripted model; returns its output."""

    def run(*command: str | Path, **variables: str) -> str:
        environ = model.environment(home, CLAUDE_PATH=claude_path) | variables
        words = [str(word) for word in command]
        done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_a_place_of_ones_own(run: Callable[..., str], tmp_path: Path, claude_path: str) -> None:
    # `nice` without a command prints how nice it is itself.
    claude = tmp_path / "claude"
    claude.write_text(f'#!/bin/sh\nnice >"{tmp_path}/niceness"\nexec "{claude_path}" "$@"\n')
    claude.chmod(0o755)
    said = run(sys.executable, EXAMPLES / "nice_place.py", "Hello", CLAUDE_PATH=str(claude))
    assert said == "Claude heard: Hello\n"
    before = int(run("nice"))
    assert int((tmp_path / "niceness").read_text()) == min(before + 10, 19)


def test_tickets_go_to_a_file(run: Callable[..., str], model: ScriptedModel) -> None:
    model.on("left", "TODO: write the tests\nBUG: it crashes\n\nTODO: write the tests")
    said = run(sys.executable, EXAMPLES / "ticket_file.py", "TICKETS.md", "What is left?")
    assert said == "2 tickets in TICKETS.md\n"
    assert (
        Path("TICKETS.md").read_text()
        == "- [ ] **task** write the tests\n- [ ] **bug** it crashes\n"
    )


def test_several_prompts_are_answered_at_once(
    model: ScriptedModel, run: Callable[..., str]
) -> None:
    def only_when_both_are_asked(_: object) -> str:
        for prompt in ("first", "second"):
            model.wait_for_request(prompt)
        return "Both are here."

    model.on("the first", only_when_both_are_asked)
    model.on("the second", only_when_both_are_asked)
    said = run(sys.executable, EXAMPLES / "batch.py", "the first", "the second")
    assert said.count("Both are here.") == 2
    assert said.index("# the first  (completed") < said.index("# the second  (completed")


@pytest.mark.timeout(600)  # it starts Claude two dozen times, and a check each time
def test_a_batch_mends_nine_of_twelve_repositories(
    run: Callable[..., str], model: ScriptedModel, tmp_path: Path
) -> None:
    """The model says each time that it is done; the tests know better."""
    for number in range(1, 13):
        wrong = f"sum(numbers) + {number}"
        right = "sum(numbers)" if number % 4 else "sum(numbers) + 0.5"
        edit = Call("Edit", file_path="sums.py", old_string=wrong, new_string=right)
        model.on(f"repo-{number:02d}", Call("Read", file_path="sums.py"), edit, "It is mended.")
    root = tmp_path / "repositories"
    lines = run(sys.executable, EXAMPLES / "mend_repositories.py", root).splitlines()
    assert lines[-1] == "9 passed, 3 failed"
    failed = [line.split()[0] for line in lines[:-1] if "the check ended with 1" in line]
    assert failed == ["repo-04", "repo-08", "repo-12"]
    for number, line in enumerate(lines[:-1], 1):
        name = f"repo-{number:02d}"
        branch = line.split()[2]
        assert branch.endswith(f"/{name}")
        kept = ["git", "-C", str(root / name), "show", f"{branch}:sums.py"]
        text = subprocess.run(kept, capture_output=True, text=True, check=True).stdout
        assert text.endswith("sum(numbers)\n" if number % 4 else "sum(numbers) + 0.5\n")


@pytest.fixture
def installed(tmp_path: Path) -> str:
    """The folder that the plugin was installed into, without an index and without a network."""
    target = tmp_path / "installed"
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install"]
    subprocess.run([*pip, *options, target, EXAMPLES / "plugin"], check=True, capture_output=True)
    return str(target)


def test_an_installed_plugin_is_known_and_works(run: Callable[..., str], installed: str) -> None:
    known = json.loads(run(COMMAND, "orchestrators", "--json", PYTHONPATH=installed))
    origin = {row["name"]: row["from"] for row in known}
    assert origin["local"] == "built in"
    assert origin["reviewer"] == "entry point of claude-mpm-reviewer"
    said = run(COMMAND, "run", "--orchestrator", "reviewer", "Look", PYTHONPATH=installed)
    assert said.startswith("Claude heard: Look\n\nName the file")


def test_the_plugins_own_tests_pass(run: Callable[..., str], installed: str) -> None:
    tests = EXAMPLES / "plugin" / "tests"
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    assert "1 passed" in run(*pytest_, tests, PYTHONPATH=installed)
