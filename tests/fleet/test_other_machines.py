"""Sessions that another machine has started in named places: listed, followed, ended from here."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from attacks import lay_outside, left_alone, replace
from calls import call, journal
from chaos.world import StandInWorld
from claude_mpm import create_orchestrator
from claude_mpm.config.settings import load_settings
from claude_mpm.conversation.question import Question
from claude_mpm.fleet import elsewhere
from claude_mpm.fleet.places import find_place
from claude_mpm.journal.storage import remove_tree
from claude_mpm.sessions.store import Store
from claude_mpm.testing.subject import until
from command import wait_until_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.orchestration.orchestrator import MPMOrchestrator

    Capture = pytest.CaptureFixture[str]

SECONDS = 60.0
# Two hosts, which are two homes on this machine, and one that never answers.
SSH = """#!/bin/sh
for word; do host=$command command=$word; done
[ "$host" != hung ] || exec sleep 600
exec env -i PATH=/usr/bin:/bin HOME="{homes}/$host" CLAUDE_CONFIG_DIR="{homes}/$host/.claude" \
    sh -c "$command"
"""
PLACE = '[places.{name}]\norchestrator = "ssh"\noptions = {{host = "{name}"}}\n'
ASKS = (
    '{"type":"control_request","request_id":"q1","request":{"subtype":"can_use_tool",'
    '"tool_name":"Bash","input":{"command":"make \\u001b[2J"}}}\n'
)


class Machines:
    """Two machines that have the same places: `near` is the one that commands are run on.

    Args:
        world: has the stand-in for Claude; its state folder is the other machine's.
        near: the state folder of this one.
        homes: the folder of the hosts' homes.
    """

    def __init__(self, world: StandInWorld, near: Path, homes: Path) -> None:
        self.world, self.near, self.homes = world, near, homes

    def start(self, host: str, prompt: str = "hello") -> tuple[str, Path]:
        """Start a session of the other machine; return its id and its folder on the host."""
        session = str(uuid.uuid4())
        claude = self.orchestrator(host, session)
        claude.start_or_raise()
        assert claude.ask(prompt).wait(SECONDS).text
        claude.detach()
        link = json.loads(self.world.folder(session).link_file.read_bytes())
        journal = Path(link["folder"]) / "exchange" / "out.jsonl"
        until(lambda: b'"state": "idle"' in journal.read_bytes(), "it does not come to rest")
        return session, Path(link["folder"])

    def orchestrator(self, host: str, session: str, **more: Any) -> MPMOrchestrator:
        options = {**self.world.options(session), "environ": {}, **more}
        claude: MPMOrchestrator = create_orchestrator("ssh", host=host, **options)
        return claude

    def folder(self, session: str) -> SessionFolder:
        """Return the folder of a session on this machine."""
        return Store(self.near).folder(session)


def processes(homes: Path) -> Iterator[int]:
    """Yield the processes on the hosts."""
    for file in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it has ended, or is another user's
            if f"HOME={homes}/".encode() in file.read_bytes():
                yield int(file.parent.name)


def end(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_until_gone([pid])


@pytest.fixture
def machines(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    homes, programs, near = tmp_path / "homes", tmp_path / "programs", tmp_path / "near"
    for folder in (homes, homes / "one", homes / "two", programs):
        folder.mkdir()
    (programs / "ssh").write_text(SSH.format(homes=homes))
    (programs / "ssh").chmod(0o755)
    settings = home / ".config" / "claude-mpm" / "settings.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(PLACE.format(name="one") + PLACE.format(name="two"))
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CLAUDE_MPM_STATE_DIR", str(near))
    monkeypatch.setattr(elsewhere, "PATIENCE", SECONDS)  # the machine may be busy
    with StandInWorld() as world:
        machines = Machines(world, near, homes)
        yield machines
        stores = (Store(world.state), Store(near))
        links = [f.pids() for store in stores for f in store.sessions() if f.has_host()]
        end([pids[0] for pids in links if pids])
        end([*processes(homes)])
        for each in (world.state, near, homes):
            if each.exists():
                remove_tree(each)


def test_sessions_of_another_machine_are_listed_with_what_they_do(
    machines: Machines, capsys: Capture
) -> None:
    first, _ = machines.start("one", "TODO: mend the gate")
    second, far = machines.start("two")
    with (far / "exchange" / "out.jsonl").open("a") as events:
        events.write(ASKS)
    assert call(capsys, "ps").out == ""
    rows = {row["session"]: row for row in call(capsys, "ps", "--everywhere", "--json").json}
    assert rows.keys() == {first, second}
    assert (rows[first]["place"], rows[first]["state"]) == ("one", "idle")
    assert (rows[second]["place"], rows[second]["state"]) == ("two", "waiting for an answer")
    assert rows[first]["prompt"] == "TODO: mend the gate"
    assert abs(rows[first]["seen_at"] - time.time()) < SECONDS
    listed = call(capsys, "ps", "--on", "one")
    assert [row[:3] for row in listed.rows] == [[first[:8], "one", "idle"]]
    asked = call(capsys, "questions", "--everywhere")
    assert [row[:3] for row in asked.rows] == [["two", second[:8], "q1"]]
    assert "\x1b" not in asked.out
    (far / "exchange" / "out.jsonl").write_bytes(journal(["TODO: mend the gate"]))
    found = call(capsys, "tickets", "--on", "two", "--json").json
    assert [(each["place"], each["title"]) for each in found] == [("two", "mend the gate")]
    assert call(capsys, "ps").out == ""  # looking follows nobody


def test_a_session_is_followed_from_here_and_stays_until_both_have_read_it(
    machines: Machines, capsys: Capture
) -> None:
    session, far = machines.start("one")
    unknown = call(capsys, "attach", "--on", "two", session[:8])
    assert unknown.status != 0
    assert f"no session '{session[:8]}' here, nor in two" in unknown.err
    done = call(capsys, "attach", "--on", "one", session[:8])
    assert done.status == 0, done.err
    assert "hello" in done.out
    assert [row["session"] for row in call(capsys, "ps", "--json").json] == [session]
    assert [row["turns"] for row in call(capsys, "ps", "--on", "one", "--json").json] == [1]
    # A prompt from here reaches Claude, though the first message of both has the same number.
    sent = call(capsys, "send", session[:8], "from here")
    assert sent.status == 0, sent.err
    assert call(capsys, "wait", session[:8]).status == 0
    assert "from here" in call(capsys, "logs", session[:8]).out
    near, other = machines.folder(session), machines.world.folder(session)
    links = [pids[0] for pids in (near.pids(), other.pids()) if pids]
    assert len(links) == 2
    stopped = call(capsys, "stop", session[:8])
    assert stopped.status == 0, stopped.err
    wait_until_gone(links)
    assert not far.exists()
    assert near.exit_status() == other.exit_status() == 0
    assert near.journal.path.read_bytes() == other.journal.path.read_bytes()


def test_a_question_is_answered_from_a_machine_that_did_not_start_the_session(
    machines: Machines, capsys: Capture
) -> None:
    session = str(uuid.uuid4())
    with machines.orchestrator("one", session, permissions="ask") as claude:
        turn = claude.ask("ask")
        asked = next(each for each in turn.stream() if isinstance(each, Question))
        (row,) = call(capsys, "questions", "--everywhere", "--json").json
        assert (row["session"], row["question"]) == (session, asked.request_id)
        words = ("--everywhere", session[:8], asked.request_id, "allow")
        done = call(capsys, "answer", *words)
        assert done.status == 0, done.err
        assert turn.wait(SECONDS).verdict.ok
        assert call(capsys, "questions", "--everywhere", "--json").json == []


def test_what_is_laid_there_stays_while_the_machine_that_started_it_is_away(
    machines: Machines, capsys: Capture
) -> None:
    session, far = machines.start("one")
    other = machines.world.folder(session)
    pids = other.pids()
    assert pids is not None
    end([pids[0]])  # the link of the other machine, which is put to sleep
    stopped = call(capsys, "stop", "--on", "one", session[:8])
    assert stopped.status == 0, stopped.err
    assert machines.folder(session).exit_status() == 0
    assert far.exists()
    with machines.orchestrator("one", session, resume=True):
        pass  # it reads what there was before it starts Claude again
    assert not far.exists()
    ours, theirs = (f.journal.path.read_bytes() for f in (machines.folder(session), other))
    assert theirs.startswith(ours)


def test_what_an_older_release_has_laid_is_listed_and_not_followed(
    machines: Machines, capsys: Capture
) -> None:
    session, far = machines.start("one")
    script = (far / "far.sh").read_text()
    assert " && echo reader" in script
    (far / "far.sh").write_text(script.replace(" && echo reader", ""))
    assert [row["session"] for row in call(capsys, "ps", "--on", "one", "--json").json] == [session]
    refused = call(capsys, "attach", "--on", "one", session[:8])
    assert refused.status == 1
    assert "by a release that lets no second machine follow it" in refused.err
    assert list((machines.near / "sessions").iterdir()) == []


def test_a_place_that_hangs_is_a_line_with_what_it_said_last(
    machines: Machines, home: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, _ = machines.start("one")
    assert len(call(capsys, "ps", "--everywhere", "--json").json) == 1
    settings = home / ".config" / "claude-mpm" / "settings.toml"
    settings.write_text(settings.read_text() + PLACE.format(name="hung"))
    ssh = machines.homes.parent / "programs" / "ssh"
    ssh.write_text(ssh.read_text().replace("!= hung", "= none"))  # now none of them answers
    monkeypatch.setattr(elsewhere, "PATIENCE", 6.0)
    begin = time.monotonic()
    done = call(capsys, "ps", "--everywhere")
    assert time.monotonic() - begin < 17  # one after another would take eighteen
    monkeypatch.setattr(elsewhere, "PATIENCE", 0.5)
    assert done.status == 0
    assert [row[:2] for row in done.rows] == [[session[:8], "one"]]
    assert done.rows[0][6].endswith(" ago")
    assert "place one does not answer: no answer in 6 s; what is listed of it is" in done.err
    assert "place hung does not answer: no answer in 6 s; nothing is known of it" in done.err
    rows = call(capsys, "ps", "--everywhere", "--json").json
    assert [row["place"] for row in rows if "reason" in row] == ["one", "two", "hung"]
    (known,) = elsewhere.last_known(
        Store(machines.near), [find_place("one", load_settings().settings.places)]
    )
    assert [each.session for each in known.sessions] == [session]


HOSTILE: dict[str, Callable[[Path], object]] = {
    "a journal without end": lambda far: (far / "exchange" / "out.jsonl").write_bytes(
        b"\n" * (1 << 22)
    ),
    "a forged list": lambda far: (far / "exchange" / "place").write_text(
        "host=x\nsession /far/ffffffff/forged\npid 1 1\ndone\n"
    ),
    "a forged end": lambda far: (far / "exchange" / "out.jsonl").write_bytes(
        b"\nsession /far/ffffffff/forged\nexit 0\ndone\n\036\n"
    ),
    "numbers": lambda far: (far / "exchange" / "pid").write_text("-1 99999999999999999999"),
    "a link": lambda far: replace(far / "exchange" / "out.jsonl", "a link to a folder", far),
    "another script": lambda far: (far / "far.sh").write_text("exec yes forged"),
    "control characters": lambda far: (far / "exchange" / "place").write_text(
        "cwd=/\x1b]0;forged\x07\n"
    ),
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_a_hostile_far_folder_is_shown_as_text_and_decides_nothing(
    machines: Machines, capsys: Capture, tmp_path: Path, attack: str
) -> None:
    session, far = machines.start("one")
    second, _ = machines.start("two")
    HOSTILE[attack](far)
    outside = lay_outside(tmp_path / "outside")
    with left_alone(outside):
        done = call(capsys, "ps", "--everywhere", "--json")
        assert {row.get("session") for row in done.json} == {session, second}
        for words in (("ps",), ("questions",), ("tickets",)):
            listed = call(capsys, *words, "--everywhere")
            assert listed.status == 0, listed.err
            assert "\x1b" not in listed.out + listed.err
    far.parent.joinpath("-bad\nname").mkdir()
    assert call(capsys, "ps", "--everywhere").status == 0
