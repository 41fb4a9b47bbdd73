"""Tickets in a tracker, each once: whatever dies, lags or fails in between."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from git_hub import GitHubStandIn
from pushes import kill_a_push_that_files, tickets

from claude_mpm.bridges import trackers
from claude_mpm.bridges.github import GitHub
from claude_mpm.bridges.markdown_file import MarkdownFile
from claude_mpm.bridges.trackers import (
    Filed,
    Issue,
    Ledger,
    Tracker,
    TrackerFailed,
    fingerprint_in,
    issue_of,
    plan,
    push,
)
from claude_mpm.cli.trackers import tracker_of
from claude_mpm.errors import StorageError, UsageError
from claude_mpm.records import Ticket
from claude_mpm.redaction import Redactor
from command import SECONDS, Command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from certificates import Certificates
    from claude_mpm.testing import ScriptedModel

SECRET = "ghp_" + "a" * 36
TO = ("--to", "github:owner/repo")


@pytest.fixture
def hub(certificates: Certificates, gh: str) -> Iterator[GitHubStandIn]:
    with GitHubStandIn(certificates) as hub:
        yield hub


@pytest.fixture
def command(command: Command, hub: GitHubStandIn) -> Command:
    command.environ |= hub.environ
    return command


class Broken(BaseException):
    """The program dies here."""


class Memory(Tracker):
    """A tracker in memory that shows what it took last only once it was asked `lag` times."""

    def __init__(self, lag: int = 0) -> None:
        super().__init__("memory")
        self.lag = lag
        self.taken: list[Issue] = []
        self.comments: list[tuple[str, str]] = []
        self.dies_after = -1
        self._asked = 0

    @property
    def address(self) -> str:
        return "memory"

    def is_public(self) -> bool:
        return False

    def filed(self) -> dict[str, Filed]:
        self._asked += 1
        shown = self.taken if self._asked > self.lag else self.taken[:-1]
        return {each.fingerprint: Filed(str(n), "open") for n, each in enumerate(shown, 1)}

    def create(self, issue: Issue) -> str:
        self._die()
        self.taken.append(issue)
        self._asked = 0
        self._die()
        return str(len(self.taken))

    def comment(self, number: str, text: str) -> None:
        self._die()
        self.comments.append((number, text))

    def _die(self) -> None:
        if self.dies_after == 0:
            self.dies_after = -1
            raise Broken
        self.dies_after -= 1


class Clock:
    """A clock, and an event: only who waits lets time pass, however fast this machine is."""

    def __init__(self) -> None:
        self._now = 1e9

    def time(self) -> float:
        return self._now

    def wait(self, timeout: float) -> bool:
        self._now += timeout
        return False


def issues(number: int) -> list[tuple[Issue, str]]:
    return [(Issue(f"{n:016x}", f"ticket {n}", "", "task"), "s") for n in range(number)]


def pushed(tracker: Memory, folder: Path, given: list[tuple[Issue, str]], most: int = 99) -> Any:
    with Ledger(folder, tracker.address) as ledger:
        return list(push(tracker, ledger, plan(given, ledger, tracker.filed(), most=most)))


@pytest.mark.parametrize("lag", [0, 3])
@pytest.mark.parametrize("dies_after", range(13))
def test_a_program_that_dies_anywhere_files_nothing_twice(
    tmp_path: Path, dies_after: int, lag: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(trackers, "time", clock)
    monkeypatch.setattr(trackers, "threading", SimpleNamespace(Event=lambda: clock))
    tracker = Memory(lag)
    tracker.dies_after = dies_after
    given = issues(6)
    try:
        pushed(tracker, tmp_path, given)
    except Broken:
        pushed(tracker, tmp_path, given)
    assert sorted(each.title for each in tracker.taken) == [f"ticket {n}" for n in range(6)]
    assert {step.what for step in pushed(tracker, tmp_path, given)} == {"known"}


def test_what_another_session_names_again_is_one_comment(tmp_path: Path) -> None:
    tracker = Memory()
    (issue, _), *_ = issues(1)
    for session in ("a", "b", "c", "b"):
        pushed(tracker, tmp_path, [(issue, session)])
    assert len(tracker.taken) == len(tracker.comments) == 1
    other = Memory()
    pushed(other, tmp_path / "other", [(issue, session) for session in "aab"])
    assert len(other.taken) == 1


def test_no_more_are_filed_than_may_be(tmp_path: Path) -> None:
    tracker = Memory()
    whats = [step.what for step in pushed(tracker, tmp_path, issues(5), most=2)]
    assert whats == ["create", "create", "left", "left", "left"]
    assert len(tracker.taken) == 2
    assert pushed(tracker, tmp_path, issues(5), most=0)[-1].what == "left"


def test_a_torn_line_of_the_ledger_is_none_and_a_damaged_one_is_said(tmp_path: Path) -> None:
    tracker = Memory()
    pushed(tracker, tmp_path, issues(2))
    (file,) = tmp_path.glob("*.jsonl")
    with file.open("ab") as ledger:
        ledger.write(b'{"what":"inten')
    assert {step.what for step in pushed(tracker, tmp_path, issues(2))} == {"known"}
    pushed(tracker, tmp_path, issues(3))
    file.write_bytes(b"garbage\n" + file.read_bytes())
    with pytest.raises(StorageError, match="line 1 is damaged"):
        pushed(tracker, tmp_path, issues(3))
    assert len(tracker.taken) == 3


def test_nothing_is_filed_unless_it_is_asked_for_and_then_once(
    command: Command, model: ScriptedModel, hub: GitHubStandIn
) -> None:
    tickets(command, model, 3)
    would = command("tickets", "push", *TO)
    assert would.stdout.count("task: clean room") == 3 and "--yes does it" in would.stderr
    assert hub.issues == []
    did = command("tickets", "push", *TO, "--yes")
    assert did.stdout.splitlines() == [f"filed {n + 1} task: clean room {n}" for n in range(3)]
    assert [issue["title"] for issue in hub.issues] == [f"clean room {n}" for n in range(3)]
    assert all(issue["labels"] == ["claude-mpm", "task"] for issue in hub.issues)
    command("tickets", "push", *TO, "--yes")
    assert len(hub.issues) == 3
    tickets(command, model, 3, "again")
    command("tickets", "push", *TO, "--yes")
    assert len(hub.issues) == 3
    assert sorted(number for number, _ in hub.comments) == [1, 2, 3]
    hub.issues[1]["state"] = "closed"
    command("tickets", "pull", *TO)
    still = {ticket["title"] for ticket in command.json("tickets")}
    assert still == {"clean room 0", "clean room 2"}


def close(command: Command, title: str) -> None:
    """Close every ticket with that title."""
    for ticket in command.json("tickets"):
        if ticket["title"] == title:
            command("tickets", "close", "--session", ticket["session"], ticket["key"])


def test_what_is_closed_here_is_closed_there_once_and_may_be_opened_again(
    command: Command, model: ScriptedModel, hub: GitHubStandIn
) -> None:
    tickets(command, model, 3)
    command("tickets", "push", *TO, "--yes")
    close(command, "clean room 1")
    would = command("tickets", "push", *TO)
    assert "close 2 task: clean room 1" in would.stdout and "--yes does it" in would.stderr
    assert "closed 2 task" in command("tickets", "push", *TO, "--yes").stdout
    assert [issue["state"] for issue in hub.issues] == ["open", "closed", "open"]
    hub.issues[1]["state"] = "open"
    hub.issues[2]["state"] = "closed"
    command("tickets", "pull", *TO)
    hub.issues[2]["state"] = "open"  # somebody thinks again, of both
    command("tickets", "push", *TO, "--yes")
    assert [issue["state"] for issue in hub.issues] == ["open"] * 3
    # What another session has open, and what others have filed, stays open.
    tickets(command, model, 1, "again")
    for ticket in command.json("tickets")[:1]:
        command("tickets", "close", "--session", ticket["session"], ticket["key"])
    command("tickets", "push", *TO, "--yes")
    assert hub.issues[0]["state"] == "open"
    close(command, "clean room 0")
    for file in (command.state / "trackers").iterdir():
        file.unlink()
    command("tickets", "push", *TO, "--yes")
    assert hub.issues[0]["state"] == "open"


def test_another_machine_without_the_ledger_files_nothing_twice(
    command: Command, model: ScriptedModel, hub: GitHubStandIn
) -> None:
    tickets(command, model, 2)
    command("tickets", "push", *TO, "--yes")
    for file in (command.state / "trackers").iterdir():
        file.unlink()
    command("tickets", "push", *TO, "--yes")
    assert len(hub.issues) == 2


def test_secrets_and_paths_of_this_machine_stay_here(
    command: Command, model: ScriptedModel, hub: GitHubStandIn, tmp_path: Path
) -> None:
    work, home = tmp_path / "project", command.environ["HOME"]
    model.on("go", f"TODO: mend {work}/a.py, not {home}/b, key {SECRET}\n")
    command("run", "go")
    command("tickets", "push", *TO, "--yes", HOME=home)
    text = json.dumps(hub.issues)
    assert "mend a.py" in text and "~/b" in text
    assert SECRET not in text and str(tmp_path) not in text
    ledger = b"".join(p.read_bytes() for p in (command.state / "trackers").glob("*.jsonl"))
    assert SECRET.encode() not in ledger


def test_strangers_read_nothing_unless_it_is_said(
    command: Command, model: ScriptedModel, hub: GitHubStandIn
) -> None:
    hub.private = False
    tickets(command, model, 1)
    refused = command("tickets", "push", *TO, "--yes", status=2)
    assert "--public" in refused.stderr and hub.issues == []
    command("tickets", "push", *TO, "--yes", "--public")
    assert len(hub.issues) == 1


def test_a_failure_is_one_line_and_a_further_push_goes_on(
    command: Command, model: ScriptedModel, hub: GitHubStandIn
) -> None:
    tickets(command, model, 3)
    hub.refusing = [403]
    failed = command("tickets", "push", *TO, "--yes", status=1)
    assert "rate limit" in failed.stderr and len(failed.stderr.splitlines()) == 1
    hub.failing = [502]  # it took the issue anyway
    command("tickets", "push", *TO, "--yes", status=1)
    assert len(hub.issues) == 1
    hub.lag = 1.0
    command("tickets", "push", *TO, "--yes")
    assert sorted(issue["title"] for issue in hub.issues) == [f"clean room {n}" for n in range(3)]


SLOW_GH = """#!/bin/sh
case "$*" in
*POST*) cat >/dev/null; echo called >>{log}; cat {gate}; echo '{{"number": 1}}' ;;
*issues*) echo '[]' ;;
*) echo '{{"private": true}}' ;;
esac
"""


def test_nobody_else_pushes_while_what_a_killed_push_has_called_still_files(
    command: Command, model: ScriptedModel, tmp_path: Path
) -> None:
    tickets(command, model, 1)
    log, gate, gh = tmp_path / "log", tmp_path / "gate", tmp_path / "programs" / "gh"
    os.mkfifo(gate)
    gh.parent.mkdir()
    gh.write_text(SLOW_GH.format(log=log, gate=gate))
    gh.chmod(0o755)
    command.environ["PATH"] = f"{gh.parent}:{command.environ['PATH']}"
    kill_a_push_that_files(command, *TO, begun=log, gate=gate)


def test_killed_at_random_moments_of_a_push(
    command: Command, model: ScriptedModel, hub: GitHubStandIn
) -> None:
    number, kills = 12, int(os.environ.get("KILLS", "6"))
    tickets(command, model, number)
    hub.lag = 0.2
    code = (
        "from claude_mpm.bridges import trackers; trackers.LAG = 1.0;"
        "from claude_mpm.cli.main import main; main()"
    )
    start = [sys.executable, "-c", code, "tickets", "push", *TO, "--yes", "--max", "99"]
    dice = random.Random(5)
    for _ in range(kills):
        process = subprocess.Popen(start, env=command.environ, stdout=subprocess.PIPE, text=True)
        with process:
            assert process.stdout is not None
            for _ in range(dice.randrange(4)):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
    subprocess.run(start, env=command.environ, check=True, timeout=SECONDS, capture_output=True)
    titles = sorted(issue["title"] for issue in hub.issues)
    assert titles == sorted(f"clean room {n}" for n in range(number))


def test_a_markdown_file_is_a_tracker_too(
    command: Command, model: ScriptedModel, tmp_path: Path
) -> None:
    file = tmp_path / "TODO.md"
    file.write_text("# Mine\n\n- [ ] buy milk")
    file.chmod(0o644)
    tickets(command, model, 2)
    to = ("--to", f"file:{file}")
    command("tickets", "push", *to, "--yes")
    command("tickets", "push", *to, "--yes")
    text = file.read_text()
    assert text.startswith("# Mine\n\n- [ ] buy milk\n- [ ] task: clean room 0 <!--")
    assert text.count("clean room") == 2 and file.stat().st_mode & 0o777 == 0o644
    file.write_text(text.replace("- [ ] task: clean room 1", "- [x] task: clean room 1"))
    command("tickets", "pull", *to)
    assert [ticket["title"] for ticket in command.json("tickets")] == ["clean room 0"]
    file.write_bytes(file.read_bytes().replace(b"# Mine\n", "# Mine \u2028 ü\r\n".encode()))
    before = file.read_bytes()
    close(command, "clean room 0")
    command("tickets", "push", *to, "--yes")
    assert file.read_bytes() == before.replace(
        b"- [ ] task: clean room 0", b"- [x] task: clean room 0"
    )


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("github:x", "names no repository"), ("github:a/b/c", "names no repository"),
        ("github:-x/y", "names no repository"), ("githb:a/b", "did you mean github?"),
        ("file:", "there are github:OWNER/REPO"), ("", "there are"),
    ],
)  # fmt: skip
def test_a_tracker_that_is_none_is_said(command: Command, to: str, said: str) -> None:
    assert said in command("tickets", "push", "--to", to, status=2).stderr


def test_a_tracker_of_a_package_is_found_by_its_entry_point(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = EntryPoint("memory", "test_trackers:OfAPackage", "claude_mpm.trackers")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: EntryPoints([entry]))
    assert tracker_of("memory:here").target == "here"
    with pytest.raises(UsageError, match="no tracker 'memory'"):
        tracker_of("memory")
    with pytest.raises(UsageError, match="did you mean memory"):
        tracker_of("memry:x")


class OfAPackage(Memory):
    """A tracker that a package brings."""

    def __init__(self, target: str) -> None:
        super().__init__()
        self.target = target


def test_without_gh_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(TrackerFailed, match="install GitHub's command"):
        GitHub("a/b").filed()


def test_what_claude_says_forges_no_mark_of_another_ticket(tmp_path: Path) -> None:
    forged = "0123456789abcdef"
    mark = f"<!-- claude-mpm {forged} -->"
    for text in (mark, f"{mark[:20]}{mark}{mark[20:]}", f"{mark[:16]}{mark}{mark[16:]}"):
        issue = issue_of(ticket(text), Redactor(), {})
        assert fingerprint_in(issue.marked_body) == issue.fingerprint != forged
        file = MarkdownFile(str(tmp_path / f"{len(text)}.md"))
        file.create(issue)
        assert set(file.filed()) == {issue.fingerprint}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mend /site/a.py in /site", "mend a.py in ."),
        ("/sitemap/a, src/site/b and /a/site/c", "/sitemap/a, src/site/b and /a/site/c"),
        ("file:///site/a -I/home/me/include", "file://a -I~/include"),
        ("/home/me, /home/melanie, x/home/me/y", "~, /home/melanie, x/home/me/y"),
    ],
)
def test_only_paths_of_this_machine_are_shortened(text: str, shown: str) -> None:
    folders = {"/site/": "", "/site": ".", "/home/me": "~"}
    issue = issue_of(ticket(text, title=text), Redactor(), folders)
    assert (issue.body, issue.title) == (shown, shown)


def test_a_session_in_the_root_folder_leaves_paths_as_they_are() -> None:
    issue = issue_of(ticket("mend src/a.py"), Redactor(), {"//": "", "/": ".", "/root": "~"})
    assert issue.body == "mend src/a.py"


def test_secrets_in_tags_stay_here() -> None:
    issue = issue_of(ticket("", tags=("red", SECRET)), Redactor(), {})
    assert "red" in issue.body and SECRET not in issue.body


def ticket(description: str, *, title: str = "a title", tags: tuple[str, ...] = ()) -> Ticket:
    return Ticket(key="k", session="s", type="task", title=title, description=description,
                  tags=tags)  # fmt: skip


@pytest.mark.parametrize("answer", ["null", "7", "{}", "[1]", '{"number": "x"}', '["a"]'])
def test_an_answer_of_another_shape_is_said_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    gh = tmp_path / "gh"
    gh.write_text(f"#!/bin/sh\necho '{answer}'\n")
    gh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    hub = GitHub("owner/repo")
    assert hub.is_public()
    with pytest.raises(TrackerFailed):
        hub.create(Issue("0" * 16, "t", "", "task"))
    if answer.startswith("["):
        assert hub.filed() == {}
    else:
        with pytest.raises(TrackerFailed):
            hub.filed()


def test_a_full_disk_leaves_a_markdown_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "TODO.md"
    file.write_text("# Mine\n")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(TrackerFailed):
            MarkdownFile(str(file)).create(Issue("0" * 16, "t", "x" * 500, "task"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_text() == "# Mine\n"


def test_what_is_written_to_a_markdown_file_steers_no_terminal(tmp_path: Path) -> None:
    file = tmp_path / "TODO.md"
    MarkdownFile(str(file)).create(Issue("0" * 16, "a\x1b[2Jb", "c\x1b]0;x\x07\u202e", "task"))
    assert not set("\x1b\x07\u202e") & set(file.read_text())


def test_a_link_in_a_repository_leads_to_no_file_that_something_obeys(tmp_path: Path) -> None:
    obeyed, fifo, notes = tmp_path / ".bashrc", tmp_path / "fifo.md", tmp_path / "notes.md"
    obeyed.write_text("# mine\n")
    os.mkfifo(fifo)
    link = tmp_path / "TODO.md"
    for target, said in ((obeyed, "is a link to"), (fifo, "is no file"), (tmp_path, "is a link")):
        link.symlink_to(target)
        with pytest.raises(UsageError, match=said):
            MarkdownFile(str(link))
        link.unlink()
    link.symlink_to(notes)
    MarkdownFile(str(link)).create(Issue("0" * 16, "t", "", "task"))
    assert "- [ ] task: t" in notes.read_text()
    with pytest.raises(UsageError, match="name the file"):
        MarkdownFile("~nobody-of-that-name/TODO.md")


def test_all_is_filed_where_the_reader_of_the_output_goes(
    command: Command, model: ScriptedModel, hub: GitHubStandIn
) -> None:
    tickets(command, model, 3)
    pushing = command.start("tickets", "push", *TO, "--yes")
    assert pushing.stdout is not None
    pushing.stdout.close()
    assert pushing.wait(SECONDS) == 0
    assert len(hub.issues) == 3
    for issue in hub.issues:
        issue["state"] = "closed"
    pulling = command.start("tickets", "pull", *TO)
    assert pulling.stdout is not None
    pulling.stdout.close()
    assert pulling.wait(SECONDS) == 0
    assert command.json("tickets") == []


@pytest.mark.parametrize(
    "moment", ["bridges.trackers.Ledger.write", "sessions.store.Store.set_ticket_state"]
)
def test_what_a_killed_pull_has_closed_may_be_opened_again(
    command: Command, model: ScriptedModel, tmp_path: Path, moment: str
) -> None:
    file, (module, name, method) = tmp_path / "TODO.md", moment.rsplit(".", 2)
    to = ("--to", f"file:{file}")
    tickets(command, model, 1)
    command("tickets", "push", *to, "--yes")
    opened = file.read_text()
    file.write_text(opened.replace("- [ ]", "- [x]"))
    code = (
        f"import os; from claude_mpm.{module} import {name} as killed;"
        f" killed.{method} = lambda *_: os._exit(9);"
        " from claude_mpm.cli.main import main; main()"
    )
    words = [sys.executable, "-c", code, "tickets", "pull", *to]
    assert subprocess.run(words, env=command.environ, timeout=SECONDS).returncode == 9
    command("tickets", "pull", *to)
    assert command.json("tickets") == []
    file.write_text(opened)
    command("tickets", "push", *to, "--yes")
    assert file.read_text() == opened
