"""The check finds what is broken, says so in words, and passes what is not."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import broken_places as broken
import pytest

from claude_mpm import MPMOrchestrator
from claude_mpm.environments.local import Local
from claude_mpm.errors import UsageError
from claude_mpm.testing import Contract, check_environment, check_orchestrator, contracts
from claude_mpm.testing.check import attempt, chosen
from claude_mpm.testing.contract_tests.stop import nothing_of

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.testing.residue import Remains

NAMES = [contract.name for contract in contracts()]


def tried(make: Any, contract: str, *, is_place: bool = True) -> str:
    """Return why a contract is broken; empty where it is kept."""
    (chosen_one,) = chosen([contract])
    return attempt(chosen_one, make, is_place=is_place).why


@pytest.mark.parametrize(
    ("place", "contract", "why"),
    [
        (broken.Forgetful, "the-environment-arrives", "a variable was 'two words"),
        (broken.Talkative, "secrets-stay-hidden", "process"),
        (broken.Wilful, "the-folder-to-work-in-arrives", "Claude works in /"),
        (broken.Careless, "a-wrong-place-is-refused", "started elsewhere"),
    ],
)
def test_a_broken_place_is_found(place: type[Local], contract: str, why: str) -> None:
    assert why in tried(place, contract)
    assert tried(Local, contract) == ""


@pytest.mark.parametrize(
    ("orchestrator", "contract", "why"),
    [
        (broken.Selective, "everything-arrives-before-the-end", "19998 came"),
        (broken.Impatient, "stop-twice-is-as-once", "RuntimeError: stopped already"),
        (broken.Hopeless, "a-missing-command-is-named", "does not name /no/such/claude: None"),
    ],
)
def test_a_broken_orchestrator_is_found(
    orchestrator: type[MPMOrchestrator], contract: str, why: str
) -> None:
    assert why in tried(orchestrator, contract, is_place=False)


def test_what_a_session_leaves_behind_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def then_hurry(remains: Remains) -> None:
        """Wait as long as it takes for what goes, and not long for what never does."""
        nothing_of(remains)
        monkeypatch.setattr("claude_mpm.testing.subject.PATIENCE", 2.0)

    monkeypatch.setattr("claude_mpm.testing.contract_tests.stop.nothing_of", then_hurry)
    why = tried(broken.Untidy, "nothing-is-left-behind", is_place=False)
    assert "left behind: threads" in why
    assert "left-behind (" in why
    broken.Untidy.go_on.set()
    for descriptor in broken.Untidy.left:
        os.close(descriptor)
    broken.Untidy.left.clear()


def test_a_client_that_the_session_hangs_on_is_found() -> None:
    assert "did not complete" in tried(broken.Frail, "what-stands-between-may-be-killed")


def test_only_what_needs_output_may_be_declared_meaningless() -> None:
    names = ["standard-error-arrives", "claude-answers"]
    report = check_environment(broken.OnAScreen, only=names)
    states = {result.contract: (result.state, result.why) for result in report.results}
    assert states == {
        "standard-error-arrives": ("not meant", "a screen shows it"),
        "claude-answers": ("passed", ""),
    }
    assert report.failures == []


def test_a_report_raises_with_a_line_for_each_failure() -> None:
    report = check_environment(broken.Wilful, only=["the-folder-to-work-in-arrives"])
    with pytest.raises(AssertionError, match=r"^the-folder-to-work-in-arrives: cwd was /usr"):
        report.raise_for_failures()
    report = check_orchestrator(MPMOrchestrator, only=["stop-before-start-does-nothing"])
    assert report.raise_for_failures() is report


def test_a_make_that_another_process_cannot_call_is_refused_with_a_reason() -> None:
    why = tried(lambda: Local(), "a-killed-controller-is-replaced-by-the-next")
    assert "must be importable" in why
    assert "functools.partial" in why


def test_a_controller_that_cannot_start_says_why() -> None:
    make = functools.partial(MPMOrchestrator, claude_path="/no/such/claude")
    contract = "claude-does-not-outlive-its-last-follower"
    assert "ended by itself" in (why := tried(make, contract, is_place=False))
    assert "/no/such/claude" in why


def test_an_unknown_contract_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'claude-answers'"):
        check_environment(Local, only=["claude-answer"])


def test_without_assertions_there_is_no_check() -> None:
    code = (
        "from claude_mpm.testing import check_environment\n"
        "from claude_mpm.environments.local import Local\n"
        "check_environment(Local, only=['stop-before-start-does-nothing'])"
    )
    done = subprocess.run(
        [sys.executable, "-O", "-c", code], capture_output=True, text=True, check=False
    )
    assert "run Python without -O" in done.stderr


def test_every_contract_says_what_a_user_loses() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert not [contract.name for contract in contracts() if not contract.loss.endswith(".")]


def run_pytest(folder: Path, test: str) -> subprocess.CompletedProcess[str]:
    """Run a test of somebody else's, who has the plugin installed."""
    (folder / "test_mine.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-k", "exit-status"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_plugin_runs_a_test_once_for_each_contract(tmp_path: Path) -> None:
    place = "from claude_mpm.environments.local import Local as Place"
    test = "def test_mine(mpm_contract):\n    mpm_contract.check_environment(Place)"
    done = run_pytest(tmp_path, f"{place}\n{test}\n")
    assert f"1 passed, {len(NAMES) - 1} deselected" in done.stdout, done.stdout


def test_a_broken_contract_is_a_failed_test_with_its_reason(tmp_path: Path) -> None:
    orchestrator = "from claude_mpm import MPMOrchestrator\nclass Mine(MPMOrchestrator):\n"
    orchestrator += "    def start(self):\n        return False"
    test = "def test_mine(mpm_contract):\n    mpm_contract.check_orchestrator(Mine)"
    done = run_pytest(tmp_path, f"{orchestrator}\n{test}\n")
    assert done.returncode == 1
    assert "the-exit-status-arrives: start() returned False" in done.stdout


def test_contracts_can_be_tried_one_by_one() -> None:
    contract: Contract = next(each for each in contracts() if each.name == "claude-answers")
    assert contract.check_environment(Local).state == "passed"
    with pytest.raises(AssertionError, match="start\\(\\) returned False"):
        contract.check_orchestrator(broken.Hopeless)
