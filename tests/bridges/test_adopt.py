"""Conversations of a Claude that was started without us become part of the record."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.sessions.store import Store
from claude_mpm.testing import Delegate
from command import PROGRAM, SECONDS, Command
from recordings import DATA, TRUTH

if TYPE_CHECKING:
    from claude_mpm.testing import ScriptedModel


def claude(command: Command, *words: str, input: str = "") -> dict[str, Any]:
    """Run the bare Claude Code once, and return the result that it prints."""
    done = subprocess.run(
        [command.environ["CLAUDE_PATH"], "-p", "--output-format", "json", *words],
        env=command.environ, input=input, capture_output=True, text=True, timeout=SECONDS,
        check=True,
    )  # fmt: skip
    result = json.loads(done.stdout)
    found: dict[str, Any] = result[-1] if isinstance(result, list) else result
    return found


def test_what_bare_claude_did_is_in_the_record_once(command: Command, model: ScriptedModel) -> None:
    model.on("go", "TODO: sweep the yard", Delegate("general-purpose", "find", does="BUG: a leak"),
             "Done.")  # fmt: skip
    result = claude(command, "go")
    (row,) = command.json("adopt")
    assert (row["session"], row["state"], row["turns"]) == (result["session_id"], "ended", 1)
    titles = {ticket["title"] for ticket in command.json("tickets")}
    assert titles == {"sweep the yard", "a leak"}
    assert [d["state"] for d in command.json("delegations")] == ["completed"]
    assert "Done." in command("logs").stdout
    before = command.session().journal.size()
    assert command.json("adopt") == [row | {"state": "ended"}]
    assert command.session().journal.size() == before
    claude(command, "more", "--resume", result["session_id"])
    (row,) = command.json("adopt", result["session_id"])
    assert row["turns"] == 2
    assert {ticket["title"] for ticket in command.json("tickets")} == titles
    assert command("logs").stdout.count("Done.") == 1
    assert command("doctor", "--rebuild-index", status=None)
    (row,) = command.json("ps")
    assert row["turns"] == 2


def test_a_conversation_of_ours_is_left_out(command: Command) -> None:
    command("run", "ours")
    adopted = command("adopt")
    assert adopted.stdout == ""
    assert "1 conversation left out" in adopted.stderr
    assert len(command.sessions()) == 1


def test_those_of_other_projects_only_where_they_are_asked_for(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claude(command, "here")
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.chdir(other)
    assert command.json("adopt") == []
    (row,) = command.json("adopt", "--all")
    assert row["folder" if "folder" in row else "cwd"] == str(tmp_path / "project")


@pytest.mark.parametrize("name", sorted(TRUTH), ids=lambda name: Path(name).name)
def test_counts_are_those_that_a_person_found(command: Command, name: str) -> None:
    truth, path = TRUTH[name], DATA / "transcripts" / name
    (row,) = command.json("adopt", str(path))
    store = Store(command.state)
    index, session = store.index, row["session"]
    assert [t.title for t in index.tickets(session)] == [m["title"] for m in truth["markers"]]
    made = {delegation.key for delegation in index.delegations(session)}
    assert made == {delegation["id"] for delegation in truth["delegations"]}
    assert row["cost_usd"] == pytest.approx(truth["total_cost_usd"] or 0.0)
    store.close()
    journal = command.session().journal
    whole = path.read_bytes()
    assert journal.read(journal.size()) == whole[: whole.rfind(b"\n") + 1]


def test_one_that_is_being_written_is_followed_to_its_end(
    command: Command, model: ScriptedModel
) -> None:
    prompt = {"type": "user", "message": {"role": "user", "content": "one"}}
    held = subprocess.Popen(
        [command.environ["CLAUDE_PATH"], "-p", "--verbose", "--input-format", "stream-json",
         "--output-format", "stream-json"],
        env=command.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with held:
        assert held.stdin is not None and held.stdout is not None
        held.stdin.write(json.dumps(prompt) + "\n")
        held.stdin.flush()
        session = ""
        for line in held.stdout:
            event = json.loads(line)
            session = event.get("session_id") or session
            if event["type"] == "result":
                break
        following = command.start("adopt", "--follow", session)
        assert following.stdout is not None
        assert following.stdout.readline()  # the table's head
        assert session[:8] in following.stdout.readline()
        prompt["message"] = {"role": "user", "content": "two"}
        held.stdin.write(json.dumps(prompt) + "\n")
        held.stdin.close()
        assert following.stdout.readline() == "Claude heard: two\n"
        assert held.wait(SECONDS) == 0
        assert following.wait(SECONDS) == 0


@pytest.mark.parametrize("what", ["text", "fifo", "folder", "missing", "other json"])
def test_what_is_no_transcript_is_refused_in_one_line(
    command: Command, tmp_path: Path, what: str
) -> None:
    path = tmp_path / "11111111-2222-4333-8444-555555555555.jsonl"
    if what == "text":
        path.write_text("hello\n")
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what == "other json":
        path.write_text('{"type": "user"}\n[1]\n')
    failed = command("adopt", str(path), status=None)
    assert failed.returncode in (1, 2)
    assert len(failed.stderr.splitlines()) == 1 and str(path) in failed.stderr
    assert not command.state.exists() or not command.json("ps")


def test_a_foreign_file_does_not_say_where_claude_works(command: Command, tmp_path: Path) -> None:
    name = "11111111-2222-4333-8444-555555555555"
    line = {"type": "user", "sessionId": name, "cwd": "/root", "uuid": "u", "message": {}}
    path = tmp_path / "foreign.jsonl"
    path.write_text(json.dumps(line) + "\n")
    (row,) = command.json("adopt", str(path))
    assert (row["session"], row["cwd"]) == (name, "")


def said(conversation: str, *texts: str) -> str:
    """Return the lines of a transcript in which Claude says something."""
    lines = []
    for text in texts:
        message = {"id": text, "role": "assistant", "content": [{"type": "text", "text": text}]}
        line = {"type": "assistant", "sessionId": conversation, "uuid": text, "message": message}
        lines.append(json.dumps(line | {"cwd": str(Path.cwd())}) + "\n")
    return "".join(lines)


CONVERSATION = "11111111-2222-4333-8444-555555555555"


def transcript(command: Command, name: str = CONVERSATION) -> Path:
    """Return the file of a conversation in Claude's configuration folder."""
    path = Path(command.environ["CLAUDE_CONFIG_DIR"], "projects", "-p", f"{name}.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_a_transcript_under_another_path_is_in_the_record_once(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, copy = transcript(command), tmp_path / f"{CONVERSATION}.jsonl"
    path.write_text(said(CONVERSATION, "one", "two"))
    command("adopt", CONVERSATION)
    copy.write_text(path.read_text())
    command("adopt", str(copy))
    monkeypatch.chdir(path.parent)
    command("adopt", path.name)
    with path.open("a") as file:
        file.write(said(CONVERSATION, "three"))
    for _ in range(2):
        command("adopt", CONVERSATION)
        copy.write_text(path.read_text())
        command("adopt", str(copy))
    assert command("logs").stdout.split() == ["one", "two", "three"]


def test_what_cannot_be_read_keeps_no_other_conversation_out(command: Command) -> None:
    transcript(command).write_text(said(CONVERSATION, "here"))
    broken = transcript(command, "99999999-2222-4333-8444-555555555555")
    broken.symlink_to(broken.name)  # in a circle
    gone = transcript(command, "88888888-2222-4333-8444-555555555555")
    gone.symlink_to("/nowhere")
    assert [row["state"] for row in command.json("adopt")] == ["ended"]
    unread = transcript(command, "77777777-2222-4333-8444-555555555555")
    unread.symlink_to("/proc/self/mem")  # opens, and cannot be read
    failed = command("adopt", status=1)
    assert CONVERSATION[:8] in failed.stdout
    assert len(failed.stderr.splitlines()) == 1 and str(unread) in failed.stderr


def test_a_conversation_that_cannot_be_copied_is_not_said_to_start(command: Command) -> None:
    path = transcript(command)
    path.write_text(said(CONVERSATION, "one"))
    subagents = path.with_suffix("") / "subagents"
    subagents.mkdir(parents=True)
    (subagents / "agent-1.jsonl").symlink_to("/proc/self/mem")
    assert str(path) in command("adopt", status=1).stderr
    assert [row["state"] for row in command.json("ps", "--all")] == ["ended"]


def test_an_endless_line_takes_no_memory(command: Command) -> None:
    path = transcript(command)
    path.write_text(said(CONVERSATION, "before"))
    os.truncate(path, 3 << 28)  # a hole: zeros without an end of line
    with path.open("ab") as file:
        file.write(b"\n" + said(CONVERSATION, "after").encode())
    resource_limits = ["sh", "-c", 'ulimit -v 700000; exec "$0" "$@"']
    done = subprocess.run(
        [*resource_limits, str(PROGRAM), "adopt", CONVERSATION],
        env=command.environ, capture_output=True, text=True, timeout=3 * SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert command("logs").stdout.split() == ["before", "after"]
    assert command.session().journal.size() < 1 << 28


@pytest.mark.parametrize(
    "error", ["/proc/self/mem", f"{CONVERSATION}.jsonl"], ids=["I/O", "circle"]
)
def test_one_that_cannot_be_read_any_more_is_named(command: Command, error: str) -> None:
    path = transcript(command)
    path.write_text(said(CONVERSATION, "one"))
    sessions = Path(command.environ["CLAUDE_CONFIG_DIR"], "sessions")
    sessions.mkdir()
    status = {"sessionId": CONVERSATION, "status": "busy"}
    (sessions / f"{os.getpid()}.json").write_text(json.dumps(status))  # it seems to run
    following = command.start("adopt", "--follow", CONVERSATION)
    assert following.stdout is not None
    assert following.stdout.readline()  # the table's head
    assert CONVERSATION[:8] in following.stdout.readline()
    path.unlink()
    path.symlink_to(error)
    assert following.wait(SECONDS) == 1
    assert following.stderr is not None
    (line,) = following.stderr.read().splitlines()
    assert line.startswith(f"claude-mpm: the transcript {path} cannot be copied: ")
