"""One reading of the transcript decides: a prompt that arrived is known by the bytes copied."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.journal.layout import SessionFolder
from claude_mpm.processors.transcript_turns import TranscriptTurns
from claude_mpm.terminal.claude_config import ClaudeStatus
from claude_mpm.terminal.journal_writer import JournalWriter
from claude_mpm.terminal.prompt_typer import ENTER, PromptTyper, paste_keys
from claude_mpm.terminal.transcript_copier import TranscriptCopier
from claude_mpm.wire import Transcript
from claude_mpm.wire.framing import LineFramer

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.records import TurnRecord

OWN = "11111111-1111-4111-8111-111111111111"
IDLE = ClaudeStatus(session_id=OWN, status="idle", status_updated_at=1.0)


class Stage:
    """A Claude that writes its lines when told, and never says anything else than that it is idle.

    Each step of the host's look is taken by hand.
    """

    def __init__(self, tmp_path: Path) -> None:
        self.folder = SessionFolder(tmp_path / "session")
        self.folder.create()
        configuration = tmp_path / "configuration"
        self.transcript = configuration / "projects" / "-work" / f"{OWN}.jsonl"
        self.transcript.parent.mkdir(parents=True)
        self.typer = PromptTyper(60.0, "s1")
        copier = TranscriptCopier(self.folder, configuration, OWN)
        self.writer = JournalWriter(copier, self.typer, self.folder.host_errors)
        self.now = self.shown = 1.0

    @property
    def complaints(self) -> list[str]:
        """What was written to the host's standard error."""
        errors = self.folder.host_errors
        return errors.read().decode().splitlines() if errors.exists() else []

    def puts(self, text: str, uuid: str) -> None:
        message = {"type": "user", "uuid": uuid, "message": {"content": text}}
        self.typer.receive("000001", json.dumps(message).encode())

    def keep(self) -> None:
        self.now += 0.05
        self.writer.write_new(IDLE, self.now)

    def act(self) -> bytes:
        self.typer.act(IDLE, self.now, self.shown)
        keys = bytes(self.typer.keys)
        self.typer.keys.clear()
        return keys

    def types(self, text: str, uuid: str) -> None:
        self.puts(text, uuid)
        self.keep()
        assert self.act() == paste_keys(text)
        self.shown = self.now = self.now + 0.01
        self.now += 0.2
        assert self.act() == ENTER

    def writes(self, *lines: dict[str, Any]) -> None:
        with self.transcript.open("a") as transcript:
            transcript.writelines(json.dumps(line) + "\n" for line in lines)

    def journal(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.folder.journal.path.read_text().splitlines()]

    def kinds(self) -> list[str]:
        return [line.get("state") or line["type"] for line in self.journal()]

    def turns(self) -> list[TurnRecord]:
        wire, turns = Transcript(), TranscriptTurns("s1")
        lines = LineFramer().feed(self.folder.journal.path.read_bytes())
        events = [event for line in lines for event in wire.decode(line)]
        found = [made.data for event in events for made in turns(event) if made.kind == "turn"]
        by_place = {turn.offset: turn for turn in found}
        return [turn for turn in by_place.values() if not turn.withdrawn]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def _user(text: str, uuid: str) -> dict[str, Any]:
    message = {"role": "user", "content": text}
    return {"type": "user", "message": message, "uuid": uuid, "promptSource": "typed"}


def _answer(text: str, id: str = "m1") -> dict[str, Any]:
    content = [{"type": "text", "text": text}]
    message = {"role": "assistant", "id": id, "content": content, "stop_reason": "end_turn"}
    return {"type": "assistant", "message": message, "uuid": f"a-{id}"}


DURATION = {"type": "system", "subtype": "turn_duration", "durationMs": 5}


@pytest.mark.parametrize("when", ["before the look", "after it was read", "after keys"])
def test_a_short_turn_is_known_whenever_its_line_is_written(stage: Stage, when: str) -> None:
    stage.types("Go", "u1")
    lines = (_user("Go", "l1"), _answer("Done."), DURATION)
    if when == "before the look":
        stage.writes(*lines)
    stage.keep()
    if when == "after it was read":
        stage.writes(*lines)
    assert stage.act() == b""
    if when == "after keys":
        stage.writes(*lines)
    stage.keep()
    assert stage.kinds() == ["started", "user", "assistant", "system"]
    assert [turn.prompts for turn in stage.turns()] == [("u1",)]
    stage.now += 200
    assert stage.act() == b""
    stage.keep()
    assert "refused" not in stage.kinds()


def test_the_note_stands_right_before_the_line_that_it_is_of(stage: Stage) -> None:
    stage.typer.others_type = True
    stage.types("Go", "u1")
    stage.writes(_user("a person's own", "l0"), _answer("Theirs.", "m0"), DURATION)
    stage.writes(_user("Go", "l1"), _answer("Ours."), DURATION)
    stage.keep()
    theirs, ours = stage.turns()
    assert (theirs.prompts, ours.prompts) == (("l0",), ("u1",))
    lines = stage.journal()
    place = next(n for n, line in enumerate(lines) if line.get("state") == "started")
    assert lines[place + 1]["uuid"] == "l1"


def test_a_line_that_comes_after_all_withdraws_the_refusal(stage: Stage) -> None:
    stage.types("Go", "u1")
    stage.now += 61
    stage.act()
    stage.now += 11
    stage.act()
    stage.keep()
    (refused,) = stage.turns()
    assert (refused.is_error, refused.message) == (True, "Claude did not take the prompt")
    stage.writes(_user("Go", "l1"), _answer("Done."), DURATION)
    stage.keep()
    (turn,) = stage.turns()
    assert (turn.prompts, turn.is_error) == (("u1",), False)


def test_an_idle_from_before_the_prompt_is_no_end_of_its_turn(stage: Stage) -> None:
    stage.types("Go", "u1")  # at once, before it was noted that Claude is idle
    stage.writes(_user("Go", "l1"))
    for _ in range(200):  # ten seconds in which Claude says nothing else of itself
        stage.keep()
        assert stage.act() == b""
    assert not stage.turns()
    stage.writes(_answer("Done."), DURATION)
    stage.keep()
    (turn,) = stage.turns()
    assert (turn.prompts, turn.terminal_reason) == (("u1",), "")


def test_five_hundred_prompts_whose_lines_come_at_any_moment(stage: Stage) -> None:
    for n in range(500):
        stage.types(f"Prompt {n}", f"u{n}")
        lines = (_user(f"Prompt {n}", f"l{n}"), _answer("Done.", f"m{n}"), DURATION)
        if n % 3 == 0:
            stage.writes(*lines)
        stage.keep()
        if n % 3 == 1:
            stage.writes(*lines)
        stage.act()
        if n % 3 == 2:
            stage.writes(*lines)
        stage.keep()
        stage.now += 2.0  # what Claude says of itself counts as stale meanwhile
    assert [turn.prompts for turn in stage.turns()] == [(f"u{n}",) for n in range(500)]


def test_a_full_disk_delays_and_repeats_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.types("Go", "u1")
    stage.writes({"type": "mode", "mode": "normal"}, _user("Go", "l1"), _answer("Done."))
    copier = stage.writer._copier
    append, calls = copier._append, iter(range(100))

    def full(data: bytes) -> None:
        if next(calls) in (0, 2, 4):
            raise OSError(28, "No space left on device")
        append(data)

    monkeypatch.setattr(copier, "_append", full)
    for _ in range(6):
        stage.keep()
    assert stage.kinds() == ["mode", "started", "user", "assistant"]
    assert len(stage.complaints) == 1  # it is said once


def _rewritten(stage: Stage, how: str) -> None:
    lines = stage.transcript.read_text().splitlines(keepends=True)
    if how == "shorter":
        stage.transcript.write_text("".join(lines[: len(lines) // 2]))
    elif how == "replaced":
        new = stage.transcript.with_suffix(".new")
        new.write_text("".join(lines))
        new.replace(stage.transcript)
    elif how == "without its first line, and grown":
        stage.transcript.write_text("".join(lines[1:]) + json.dumps(_answer("x", "m9")) + "\n")
    elif how == "a line is put in front":
        stage.transcript.write_text('{"type":"summary"}\n' + "".join(lines))
    elif how == "as long, with another line":
        old = _answer("Done.", "m1")
        stage.transcript.write_text(
            "".join(lines).replace(json.dumps(old), json.dumps({**old, "uuid": "b-m1"}))
        )
    elif how == "empty":
        stage.transcript.write_text("")


@pytest.mark.parametrize(
    "how",
    [
        "shorter",
        "replaced",
        "without its first line, and grown",
        "a line is put in front",
        "as long, with another line",
        "empty",
    ],
)
def test_a_transcript_that_is_rewritten_is_read_again_and_said_once(stage: Stage, how: str) -> None:
    stage.types("One", "u1")
    stage.writes(_user("One", "l1"), _answer("Done.", "m1"), DURATION, {"type": "mode"})
    stage.keep()
    stage.now += 2
    _rewritten(stage, how)
    stage.keep()
    stage.types("Two", "u2")
    stage.writes(_user("Two", "l2"), _answer("Done.", "m2"), DURATION)
    for _ in range(3):
        stage.keep()
    assert [turn.prompts for turn in stage.turns()] == [("u1",), ("u2",)]
    said = [line for line in stage.journal() if line.get("subtype") == "transcript_changed"]
    assert len(said) == len(stage.complaints) == 1, stage.complaints
    uuids = [line["uuid"] for line in stage.journal() if "uuid" in line]
    assert len(uuids) == len(set(uuids))


def test_a_host_that_was_killed_while_it_read_again_repeats_nothing(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.writes(*(_user(f"Prompt {n}", f"l{n}") for n in range(5)))
    stage.keep()
    stage.transcript.write_text("")
    stage.writes(*(_user(f"Prompt {n}", f"l{n}") for n in range(3, 9)))

    class Killed(Exception):
        pass

    def dies(data: bytes) -> None:
        with stage.folder.journal.path.open("ab") as journal:
            journal.write(data[: len(data) // 2])
        raise Killed

    copier = stage.writer._copier
    monkeypatch.setattr(copier, "_append", dies)
    with pytest.raises(Killed):
        stage.keep()
    monkeypatch.undo()
    stage.folder.end_torn_line()
    after = TranscriptCopier(stage.folder, tmp_path / "configuration", OWN)
    JournalWriter(after, PromptTyper(), stage.folder.host_errors).write_new(IDLE, 2.0)
    wire = Transcript()
    lines = LineFramer().feed(stage.folder.journal.path.read_bytes())
    users = [e.data.uuid for line in lines for e in wire.decode(line) if e.kind == "user"]
    assert sorted(users) == [f"l{n}" for n in range(9)]


def test_what_other_sessions_wrote_is_not_read_when_their_transcript_is_rewritten(
    tmp_path: Path,
) -> None:
    stage = Stage(tmp_path)
    other = stage.transcript.with_name(f"{OWN[:-1]}2.jsonl")
    other.write_text("".join(json.dumps(_user("theirs", f"t{n}")) + "\n" for n in range(9)))
    copier = TranscriptCopier(stage.folder, tmp_path / "configuration", OWN)
    copier.follow(other.stem)
    writer = JournalWriter(copier, stage.typer, stage.folder.host_errors)
    activity = ClaudeStatus(session_id=other.stem, status="idle")
    writer.write_new(activity, 1.0)
    other.write_text("".join(json.dumps(_user("theirs", f"t{n}")) + "\n" for n in range(4)))
    writer.write_new(activity, 2.0)
    with other.open("a") as transcript:
        transcript.write(json.dumps(_user("ours", "o1")) + "\n")
    writer.write_new(activity, 3.0)
    assert [line["uuid"] for line in stage.journal() if "uuid" in line] == ["o1"]


def test_a_transcript_that_is_no_file_holds_nothing_up(stage: Stage) -> None:
    os.mkfifo(stage.transcript)
    stage.keep()
    assert not stage.complaints
