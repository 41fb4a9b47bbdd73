"""What a controller's death leaves behind: nothing is lost, nothing is run twice, nothing stays."""

from __future__ import annotations

import signal
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from claude_mpm import Outcome
from claude_mpm.engine.live_session import LiveSession
from claude_mpm.errors import UsageError
from claude_mpm.journal.folder_watch import subscribe
from claude_mpm.journal.inbox import Inbox
from claude_mpm.journal.lease import Lease, SessionLock
from claude_mpm.journal.storage import remove_tree
from claude_mpm.testing import Call, Stall
from claude_mpm.wire.stream_json import StreamJson
from command import SECONDS, Command, said_in, wait_until_gone

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from claude_mpm.testing import ScriptedModel
    from conftest import MakeClaude

FIRST, LAST = "Erste Hälfte,\n  mit  Abständen →", "Zweite Hälfte.\n\nEnde."
# Kills the process between writing a prompt and announcing it, or right after that.
FATAL = """
import os, signal
from claude_mpm.journal.inbox import Inbox
from claude_mpm.journal.lease import Lease, SessionLock

announce = Inbox.announce

def fatal(inbox, name):
    is_prompt = b'"type":"user"' in inbox.read(name) if name.isdigit() else False
    if not is_prompt or os.environ["DIE"] == "after":
        announce(inbox, name)
    if is_prompt:
        os.kill(os.getpid(), signal.SIGKILL)

Inbox.announce = fatal
"""


def killed_in_the_middle(command: Command, model: ScriptedModel, **environ: str) -> str:
    """Kill a controller in the middle of a turn and return what it had printed."""
    model.on("slowly", FIRST, Call("Bash", command="echo working"), Stall(), LAST)
    controller = command.start("run", "slowly", **environ)
    assert controller.stdout is not None
    printed = "".join(controller.stdout.readline() for _ in FIRST.splitlines())
    model.wait_for_stall()
    controller.kill()
    assert controller.wait(SECONDS) == -signal.SIGKILL
    return printed + controller.stdout.read()


def prompts_of(model: ScriptedModel) -> list[str]:
    return [request.prompt for request in model.requests if request.prompt]


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def rest_of(process: subprocess.Popen[str]) -> str:
    """Return what it still prints, once it has ended; `communicate` forgets what was read ahead."""
    assert process.stdout is not None
    rest = process.stdout.read()
    process.wait(SECONDS)
    return rest


def test_a_killed_controllers_turn_is_followed_by_the_next_whole_and_once(
    command: Command, model: ScriptedModel
) -> None:
    printed = killed_in_the_middle(command, model)
    (row,) = command.json("ps")
    assert (row["state"], row["turns"], row["prompt"]) == ("working", 0, "slowly")
    attached = command.start("attach")
    begin = first_line(attached)
    model.release()
    rest = rest_of(attached)
    assert attached.returncode == 0
    assert begin + rest == f"{FIRST}\n{LAST}\n" == said_in(command.session())
    assert (begin + rest).startswith(printed)
    assert attached.stderr is not None
    assert "left running" in attached.stderr.read()
    (row,) = command.json("ps")
    assert (row["state"], row["turns"]) == ("idle", 1)
    assert command("attach").stdout == begin + rest, "the answer can be had again"
    assert command("logs").stdout == begin + rest


@pytest.mark.parametrize("runs", [True, False], ids=["its Claude runs still", "it has ended"])
def test_resume_goes_on_in_the_conversation_of_a_killed_controller(
    command: Command, model: ScriptedModel, runs: bool
) -> None:
    killed_in_the_middle(command, model)
    model.release()
    assert command("wait").returncode == 0
    session = command.session().path.name
    if not runs:
        command("stop", session)
    assert command("resume", session[:6], "and now?").stdout == "Claude heard: and now?\n"
    said = str(model.wait_for_request("and now?").messages)
    assert "slowly" in said
    assert "Zweite Hälfte." in said
    assert prompts_of(model) == ["slowly", "and now?"]
    assert command.session().has_host() is runs, "it is left as it was found"


def test_a_turn_that_was_killed_with_its_claude_is_lost_and_the_conversation_is_not(
    command: Command, model: ScriptedModel
) -> None:
    killed_in_the_middle(command, model)
    command("stop")
    done = command("attach", status=130)
    assert done.stdout == f"{FIRST}\n"
    assert "interrupted" in done.stderr
    session = command.session().path.name
    assert command("resume", session, "go on").stdout == "Claude heard: go on\n"
    assert "slowly" in str(model.wait_for_request("go on").messages)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("runs", [True, False], ids=["its Claude runs still", "it has ended"])
def test_a_prompt_is_run_once_whose_controller_was_killed_before_it_heard_of_it(
    command: Command, model: ScriptedModel, tmp_path: Path, when: str, runs: bool
) -> None:
    (tmp_path / "fatal.py").write_text(FATAL)
    linger = {} if runs else {"CLAUDE_MPM_LINGER": "0"}
    dying = command.start(
        "run", "unheard", "--plugin", "fatal", DIE=when, PYTHONPATH=str(tmp_path), **linger
    )
    assert dying.wait(SECONDS) == -signal.SIGKILL
    if not runs:
        command("logs", "-f")  # until the session has ended
    session = command.session().path.name
    assert command("attach" if runs else "resume", session, status=None).returncode in (0, 2)
    command("resume", session, "next")
    assert prompts_of(model) == ["unheard", "next"]
    assert said_in(command.session()) == "Claude heard: unheard\nClaude heard: next\n"
    assert command.json("show")["undelivered"] == []


def test_several_undelivered_prompts_wait_for_the_running_turn_and_for_each_other(
    command: Command, model: ScriptedModel
) -> None:
    killed_in_the_middle(command, model)
    inbox = Inbox(command.session())
    for number in range(2):
        inbox.put(StreamJson().prompt(f"left over {number}", f"uuid-{number}"))
    waiting = [prompt["text"] for prompt in command.json("show")["undelivered"]]
    assert waiting == ["left over 0", "left over 1"]
    attached = command.start("attach")
    first_line(attached)
    model.release()
    rest = rest_of(attached)
    assert rest.endswith(f"{LAST}\nClaude heard: left over 0\nClaude heard: left over 1\n")
    assert prompts_of(model) == ["slowly", "left over 0", "left over 1"]
    assert [turn["prompts"] for turn in command.json("show")["turns"]][1:] == [
        ["uuid-0"],
        ["uuid-1"],
    ]


def test_a_follower_beside_a_living_controller_leaves_its_prompts_to_it(
    command: Command, make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on("slowly", "first", Call("Bash", command="echo working"), Stall(), "last")
    with make_claude(state_dir=str(command.state)) as claude:
        running = claude.ask("slowly")
        waiting = claude.ask("after it")  # it is in the inbox, and Claude does not know of it
        model.wait_for_stall()
        follower = command.start("attach")
        begin = first_line(follower)
        model.release()
        assert begin + rest_of(follower) == "first\nlast\n"
        assert running.text == "first\nlast"
        assert waiting.text == "Claude heard: after it"
    assert prompts_of(model) == ["slowly", "after it"]


def test_claude_ends_by_itself_after_its_turn_where_nobody_follows(
    command: Command, model: ScriptedModel
) -> None:
    killed_in_the_middle(command, model, CLAUDE_MPM_LINGER="1")
    folder = command.session()
    pids = folder.pids()
    assert pids is not None
    reader = command.start("logs", "-f")  # which only reads, and keeps nothing alive
    first_line(reader)
    model.release()
    assert rest_of(reader).endswith("Ende.\n")
    wait_until_gone(pids)
    assert folder.exit_status() == 0
    left = {path.name for path in folder.exchange.iterdir() if not path.name.startswith(".")}
    assert not left & {"feed", "lease", "stdin", "pid", "closed"}
    assert command("attach").stdout == f"{FIRST}\n{LAST}\n"
    assert command.json("ps")[0]["state"] == "ended"


def test_an_orphan_is_stopped_and_nothing_of_it_is_left(
    command: Command, model: ScriptedModel
) -> None:
    killed_in_the_middle(command, model)
    folder = command.session()
    pids = folder.pids()
    assert pids is not None
    assert command("stop").stdout.startswith(folder.path.name[:8])
    wait_until_gone(pids)
    assert not folder.feed.exists()
    assert not folder.lease.exists()
    assert "already" in command("stop", folder.path.name).stdout
    assert command("stop", "--all").stdout == ""


def test_any_number_follow_one_session(command: Command, model: ScriptedModel) -> None:
    killed_in_the_middle(command, model)
    followers = [command.start("attach"), command.start("attach"), command.start("logs", "-f")]
    begins = [first_line(follower) for follower in followers]
    model.release()
    outputs = [rest_of(follower) for follower in followers[:2]]
    for begin, rest in zip(begins, outputs, strict=False):
        assert begin + rest == f"{FIRST}\n{LAST}\n"
    command("stop")
    assert begins[2] + rest_of(followers[2]) == f"{FIRST}\n{LAST}\n"


def test_a_session_that_another_is_starting_is_not_started_twice(
    command: Command, model: ScriptedModel
) -> None:
    command("run", "hello")
    lock = SessionLock(command.session())
    assert lock.held
    done = command("resume", command.session().path.name, "at the same time", status=2)
    assert "being started by another claude-mpm" in done.stderr
    lock.release()
    assert prompts_of(model) == ["hello"]


def test_a_session_whose_input_has_ended_is_taken_up_when_its_turn_is_over(
    command: Command, model: ScriptedModel
) -> None:
    killed_in_the_middle(command, model, CLAUDE_MPM_LINGER="0.1")
    folder = command.session()
    with closing(subscribe(folder.exchange)) as changes:
        while not folder.closed.exists():
            changes.wait(SECONDS)
    refused = command("send", folder.path.name, "too late", status=1)
    assert "ends after its turn" in refused.stderr
    resuming = command.start("resume", folder.path.name, "go on")
    assert resuming.stderr is not None
    assert "finishes its turn" in resuming.stderr.readline()
    model.release()
    assert rest_of(resuming) == "Claude heard: go on\n"
    assert prompts_of(model) == ["slowly", "go on"]
    assert said_in(folder) == f"{FIRST}\n{LAST}\nClaude heard: go on\n"


def test_a_controller_lets_go_in_the_middle_of_a_turn_and_the_next_one_has_all_of_it(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on("slowly", FIRST, Call("Bash", command="echo working"), Stall(), LAST)
    first = make_claude(session_id="handed-on")
    with pytest.raises(UsageError, match="cannot be let go of"):
        first.detach()
    first.start_or_raise()
    begun = first.ask("slowly")
    model.wait_for_stall()
    first.detach()
    first.stop()
    assert begun.verdict.outcome is Outcome.LOST
    assert begun.verdict.reason == "there is no result", "nothing is said of an end of Claude"
    with make_claude(session_id="handed-on", resume=True) as second:
        (turn,) = second.turns_before
        assert second.attached
        model.release()
        assert turn.prompt == "slowly"
        assert turn.text == f"{FIRST}\n{LAST}"
        assert second.ask("next").text == "Claude heard: next"
    assert first.store.folder("handed-on").has_ended()


@pytest.mark.parametrize("again", ["detach", "stop"])
def test_a_detachment_that_was_interrupted_is_finished_by_the_next_call(
    make_claude: MakeClaude, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    def interrupted(live: LiveSession) -> None:
        raise KeyboardInterrupt

    claude = make_claude(session_id="left")
    claude.start_or_raise()
    claude.ask("hello")
    index = claude.store.index
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(LiveSession, "detach", interrupted)
        claude.detach()
    getattr(claude, again)()
    assert index.holders == 0, "nothing is held here"
    with make_claude(session_id="left", resume=True) as second:
        assert second.attached, "Claude goes on"


def test_claude_does_not_outlive_the_folder_of_its_session(
    command: Command, model: ScriptedModel
) -> None:
    session = command("run", "--detach", "hello").stdout.strip()
    command("wait", session)
    pids = command.session().pids()
    assert pids is not None
    attached = Lease(command.session())
    remove_tree(command.session().path)
    attached.release()
    wait_until_gone(pids)
