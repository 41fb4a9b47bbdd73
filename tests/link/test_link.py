"""A session that lives elsewhere: its journal is whole here, whatever dies in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm import MPMOrchestrator
from claude_mpm.environments.base import Environment
from claude_mpm.environments.linked import LinkedHost
from claude_mpm.errors import LaunchError
from claude_mpm.link.lock import is_linked as link_lives
from claude_mpm.sessions.reader import read_events
from claude_mpm.testing.subject import ended, until
from command import wait_until_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from claude_mpm.journal.layout import SessionFolder

pytestmark = pytest.mark.usefixtures("stand_in")
SECONDS = 60.0


class Elsewhere(Environment):
    """A place with only a command in front: this machine, with another home."""

    name = "elsewhere"

    def __init__(self, home: Path) -> None:
        self.home = home

    def wrap(self, argv: Sequence[str]) -> list[str]:
        return ["env", f"HOME={self.home}", *argv]


@pytest.fixture
def far_home(tmp_path: Path) -> Path:
    home = tmp_path / "far"
    home.mkdir()
    return home


@pytest.fixture
def make(far_home: Path) -> Iterator[Callable[..., MPMOrchestrator]]:
    made: list[MPMOrchestrator] = []

    def make(**options: Any) -> MPMOrchestrator:
        options.setdefault("environment", Elsewhere(far_home))
        made.append(MPMOrchestrator(**options))
        return made[-1]

    yield make
    for claude in made:
        claude.stop()


def folder_of(claude: MPMOrchestrator) -> SessionFolder:
    return claude.store.folder(claude.session_id)


def far_sessions(home: Path) -> list[Path]:
    return list((home / ".local/state/claude-mpm/far").glob("*/*"))


def end_children(pid: int) -> None:
    """Kill the processes that a process has started; some of them end by themselves."""
    for tasks in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended
            for child in map(int, (tasks / "children").read_text().split()):
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)


def is_in_step(folder: SessionFolder, far: Path) -> bool:
    """Return whether the journal here is the one there."""
    there = far / "exchange" / "out.jsonl"
    return there.read_bytes() == folder.journal.path.read_bytes()


def test_a_conversation_elsewhere_reads_as_one_here(
    make: Callable[..., MPMOrchestrator], far_home: Path
) -> None:
    with make() as claude:
        assert claude.ask("one").text == "Claude heard: one"
        (far,) = far_sessions(far_home)
        assert claude.ask("two").text == "Claude heard: two"
        here = folder_of(claude)
        until(lambda: is_in_step(here, far), "the journal here is not the one there")
    folder = folder_of(claude)
    assert folder.exit_status() == 0
    assert not far_sessions(far_home), "the far folder stays behind"
    events = [event.kind for event in read_events(folder, claude.store.index)]
    assert events.count("result") == 2


@pytest.mark.parametrize("victim", ["the link", "the connection"])
def test_whatever_dies_in_between_claude_never_notices(
    make: Callable[..., MPMOrchestrator],
    far_home: Path,
    victim: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STAND_IN_LINES", "2000")
    with make() as claude:
        folder = folder_of(claude)
        for turn in range(3):
            link = (folder.pids() or (0, 0))[0]
            assert link
            if victim == "the link":
                os.kill(link, signal.SIGKILL)
            else:
                end_children(link)
            asked = claude.ask(f"turn {turn}", timeout=SECONDS)
            lines = asked.text.splitlines()
            assert lines == [f"line {n}" for n in range(2000)], asked.verdict
        (far,) = far_sessions(far_home)
        until(lambda: is_in_step(folder, far), "the journal here is not the one there")
    told = Path(os.environ["STAND_IN_LOG"]).read_text().splitlines()
    assert [json.loads(line).get("input") for line in told[1:]] == ["turn 0", "turn 1", "turn 2"]
    assert folder.exit_status() == 0


@pytest.fixture
def unlinked(make: Callable[..., MPMOrchestrator]) -> SessionFolder:
    """A session that goes on elsewhere, whose link was killed just now."""
    claude = make(linger=SECONDS)
    claude.start_or_raise()
    assert claude.ask("one").text == "Claude heard: one"
    folder = folder_of(claude)
    claude.detach()
    os.kill((folder.pids() or (0, 0))[0], signal.SIGKILL)
    return folder


def test_a_session_whose_link_is_gone_is_taken_up_where_it_runs(
    make: Callable[..., MPMOrchestrator], unlinked: SessionFolder, far_home: Path
) -> None:
    (far,) = far_sessions(far_home)
    claude = (far / "exchange" / "pid").read_text()
    with make(session_id=unlinked.path.name, resume=True) as second:
        assert second.attached
        assert second.ask("two").text == "Claude heard: two"
        assert (far / "exchange" / "pid").read_text() == claude, "another Claude was started"
    assert unlinked.exit_status() == 0


def test_a_link_that_is_dying_when_a_session_is_taken_up_does_not_make_a_second_claude(
    make: Callable[..., MPMOrchestrator],
    unlinked: SessionFolder,
    far_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    until(lambda: not link_lives(unlinked), "the link has not ended")
    # The first look sees what was still true of it in the moment when it was killed.
    looks: list[LinkedHost] = []
    really_known = LinkedHost._is_known

    def is_linked(folder: SessionFolder) -> bool:
        return not looks or link_lives(folder)

    def is_known(host: LinkedHost) -> bool:
        looks.append(host)
        return len(looks) == 1 or really_known(host)

    monkeypatch.setattr("claude_mpm.environments.linked.is_linked", is_linked)
    monkeypatch.setattr(LinkedHost, "_is_known", is_known)
    with make(session_id=unlinked.path.name, resume=True) as second:
        assert second.attached
        assert second.ask("two").text == "Claude heard: two"
        assert len(far_sessions(far_home)) == 1


def test_a_killed_host_there_ends_the_session_here(
    make: Callable[..., MPMOrchestrator], far_home: Path
) -> None:
    claude = make()
    claude.start_or_raise()
    (far,) = far_sessions(far_home)
    host, last = map(int, (far / "exchange" / "pid").read_text().split())
    os.kill(host, signal.SIGKILL)
    folder = folder_of(claude)
    ended(folder)
    assert folder.exit_status() == 137
    assert "the host was killed" in folder.host_errors.path.read_text()
    wait_until_gone([last])


def test_nobody_follows_so_claude_ends_there_and_here(
    make: Callable[..., MPMOrchestrator], far_home: Path
) -> None:
    claude = make(linger=0.2)
    claude.start_or_raise()
    folder = folder_of(claude)
    claude.detach()
    ended(folder)
    assert folder.exit_status() == 0
    assert not far_sessions(far_home)


def test_it_does_not_start_elsewhere_than_asked(
    make: Callable[..., MPMOrchestrator], far_home: Path, tmp_path: Path
) -> None:
    class Mistaken(Elsewhere):
        def expected(self) -> dict[str, str]:
            return {"container": "c" * 64}

    claude = make(environment=Mistaken(far_home))
    with pytest.raises(LaunchError, match="not the place that was asked for: not container=ccc"):
        claude.start_or_raise()
    assert not Path(os.environ["STAND_IN_LOG"]).exists(), "Claude was started anyway"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"claude_path": "no-such-claude"}, "there is no command no-such-claude there"),
        ({"cwd": "/no/such/folder"}, "there is no folder /no/such/folder"),
    ],
)
def test_what_is_missing_there_is_said_before_anything_starts(
    make: Callable[..., MPMOrchestrator], far_home: Path, options: dict[str, str], reason: str
) -> None:
    claude = make(**options)
    with pytest.raises(LaunchError, match=reason):
        claude.start_or_raise()
    assert not (far_home / ".local/state/claude-mpm/far").exists()


def test_variables_reach_claude_but_no_process_list(
    make: Callable[..., MPMOrchestrator], far_home: Path
) -> None:
    secret = "s3cret'with\"quotes\nand a line"
    claude = make(
        environ={"ANTHROPIC_API_KEY": secret, "HOME": "/here"},
        claude_path="sh",
        claude_args=[
            "-c",
            'read -r _; printf %s "$ANTHROPIC_API_KEY" >key; echo "$HOME"; read -r _',
        ],
        cwd=str(far_home),
        wire="plain-text",
        quiet=0.3,
    )
    with claude:
        assert claude.ask("go").text == str(far_home)
        assert (far_home / "key").read_text() == secret
        listed = subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout
        assert "s3cret" not in listed
        for file in [*folder_of(claude).path.rglob("*"), *far_home.rglob("*")]:
            if file.is_file() and file.name != "key":
                with suppress(FileNotFoundError):  # the far end's notes come and go
                    assert "s3cret" not in file.read_text("utf-8", "replace"), file
