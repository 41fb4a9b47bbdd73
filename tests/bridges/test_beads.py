"""Tickets in Beads, each once, by a stand-in for its program."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pushes import kill_a_push_that_files, tickets

from claude_mpm.bridges import program
from claude_mpm.bridges.beads import Beads
from claude_mpm.bridges.trackers import Issue, TrackerFailed
from claude_mpm.config.trust import set_trust
from claude_mpm.errors import UsageError
from command import wait_until_gone

if TYPE_CHECKING:
    from claude_mpm.testing import ScriptedModel
    from command import Command

TO = ("--to", "beads")
SECONDS = 60.0
STAND_IN = Path(__file__).with_name("bd_stand_in.py")


class Project:
    """A folder with Beads in it, which is the current one."""

    def __init__(self, folder: Path) -> None:
        self.beads = folder / ".beads"
        self.beads.mkdir()
        set_trust(folder, trusted=True)

    @property
    def issues(self) -> list[dict[str, Any]]:
        file = self.beads / "issues.json"
        found: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []
        return found

    def close(self, number: int) -> None:
        issues = self.issues
        issues[number]["status"] = "closed"
        (self.beads / "issues.json").write_text(json.dumps(issues))


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A path on which `bd` is."""
    folder = tmp_path / "programs"
    folder.mkdir()
    program = folder / "bd"
    words = shlex.join([sys.executable, "-I", str(STAND_IN)])
    program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    program.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.fixture
def command(command: Command, path: str) -> Command:
    command.environ["PATH"] = path
    return command


@pytest.fixture
def project(command: Command) -> Project:
    return Project(Path.cwd())


@pytest.mark.parametrize("bare", [False, True])
def test_tickets_are_filed_once_and_what_is_closed_there_is_closed_here(
    command: Command, model: ScriptedModel, project: Project, bare: bool
) -> None:
    if bare:
        command.environ["BD_BARE"] = "1"
    tickets(command, model, 3)
    assert "--yes does it" in command("tickets", "push", *TO).stderr
    assert project.issues == []
    did = command("tickets", "push", *TO, "--yes").stdout.splitlines()
    assert did == [f"filed shop-00{n} task: clean room {n}" for n in range(3)]
    assert [issue["labels"] for issue in project.issues] == [["claude-mpm"]] * 3
    command("tickets", "push", *TO, "--yes")
    tickets(command, model, 3, "again")
    command("tickets", "push", *TO, "--yes")
    assert len(project.issues) == 3
    said = [[each["text"] for each in issue["comments"]] for issue in project.issues]
    assert said == [["This was named again in another session."]] * 3
    project.close(1)
    command("tickets", "pull", *TO)
    still = {ticket["title"] for ticket in command.json("tickets")}
    assert still == {"clean room 0", "clean room 2"}
    for ticket in command.json("tickets"):
        if ticket["title"] == "clean room 0":
            command("tickets", "close", "--session", ticket["session"], ticket["key"])
    command("tickets", "push", *TO, "--yes")
    assert [issue["status"] for issue in project.issues] == ["closed", "closed", "open"]
    assert project.issues[0]["close_reason"] == "closed in claude-mpm"


def test_more_than_one_page_and_what_is_closed_is_known_without_the_ledger(
    command: Command, model: ScriptedModel, project: Project
) -> None:
    tickets(command, model, 60)
    command("tickets", "push", *TO, "--yes", "--max", "99")
    project.close(0)
    for file in (command.state / "trackers").iterdir():
        file.unlink()
    command("tickets", "push", *TO, "--yes", "--max", "99")
    assert len(project.issues) == 60


def test_a_create_that_failed_after_it_was_taken_is_filed_once(
    command: Command, model: ScriptedModel, project: Project
) -> None:
    tickets(command, model, 2)
    (project.beads / "failing").touch()
    failed = command("tickets", "push", *TO, "--yes", status=1)
    assert "database is locked" in failed.stderr and len(failed.stderr.splitlines()) == 1
    command("tickets", "push", *TO, "--yes")
    assert sorted(issue["title"] for issue in project.issues) == ["clean room 0", "clean room 1"]


def test_type_priority_and_a_title_like_an_option_arrive(
    project: Project, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", path)
    tracker = Beads(".")
    for n, (kind, priority) in enumerate(
        [("bug", "critical"), ("enhancement", ""), ("security, x", "odd"), ("docs", "low")]
    ):
        tracker.create(Issue(f"{n:016x}", "--all, -h", "Why", kind, priority))
    found = [(each["issue_type"], each["priority"], each["labels"]) for each in project.issues]
    assert found == [
        ("bug", 0, ["claude-mpm"]), ("feature", 2, ["claude-mpm", "enhancement"]),
        ("task", 2, ["claude-mpm"]), ("task", 3, ["claude-mpm", "docs"]),
    ]  # fmt: skip
    assert {each["title"] for each in project.issues} == {"--all, -h"}
    assert tracker.filed().keys() == {f"{n:016x}" for n in range(4)}


def test_the_folder_above_is_the_same_tracker(project: Project, tmp_path: Path) -> None:
    Path("below").mkdir()
    assert Beads("below").address == Beads(".").address == f"beads:{project.beads}"
    with pytest.raises(UsageError, match="bd init"):
        Beads(str(tmp_path / "programs"))


def test_the_hooks_of_a_project_that_is_not_trusted_are_not_run(project: Project) -> None:
    set_trust(project.beads.parent, trusted=False)
    with pytest.raises(UsageError, match=r"is not trusted.*claude-mpm trust"):
        Beads(".")


def test_without_bd_the_error_says_what_to_install(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(TrackerFailed, match="there is no bd; install Beads"):
        Beads(".").filed()


SLOW_BD = """#!/bin/sh
case "$1" in
list) echo '[]' ;;
*) tail -f /dev/null >/dev/null 2>&1 &
   echo $! >{daemon}; cat >/dev/null; echo $$ >{log}; cat {gate}; echo '{{"id": "b-1"}}' ;;
esac
"""


def test_nobody_else_pushes_while_a_bd_of_a_killed_push_runs_and_everybody_behind_it(
    project: Project, command: Command, model: ScriptedModel, path: str, tmp_path: Path
) -> None:
    """What `bd` leaves behind, as a server of its data, does not count."""
    tickets(command, model, 1)
    log, gate, daemon = tmp_path / "log", tmp_path / "gate", tmp_path / "daemon"
    os.mkfifo(gate)
    Path(path.partition(":")[0], "bd").write_text(SLOW_BD.format(log=log, gate=gate, daemon=daemon))
    kill_a_push_that_files(command, *TO, begun=log, gate=gate)
    os.kill(int(daemon.read_text()), signal.SIGKILL)


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("locked", [False, True])
def test_a_bd_that_does_not_answer_is_ended_with_what_it_has_started(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locked: bool
) -> None:
    pids = tmp_path / "pids"
    noted = f"echo $$ $! >{pids}.new && mv {pids}.new {pids}"
    script = f"#!/bin/sh\ntail -f /dev/null &\n{noted}\nwait\n"
    Path(path.partition(":")[0], "bd").write_text(script)
    monkeypatch.setenv("PATH", path)
    monkeypatch.setattr(program, "PATIENCE", 3.0)  # enough for it to begin on a busy machine
    beads = Beads(".")
    with (tmp_path / "lock").open("w") as lock:
        held = beads.keeping_open(lock.fileno()) if locked else nullcontext()
        with held, pytest.raises(TrackerFailed, match="bd has not answered"):
            beads.filed()
    wait_until_gone([*map(int, pids.read_text().split())])
