"""What fuzzing has found, each as the smallest input that broke something."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.config.settings import load_settings
from claude_mpm.errors import SettingsError, StorageError
from claude_mpm.journal.answers import Answer, read_answers
from claude_mpm.journal.inbox import Inbox
from claude_mpm.journal.layout import Meta, SessionFolder
from claude_mpm.journal.lease import Owner, read_owner
from claude_mpm.journal.prompts import answer_messages, interrupts, prompts
from claude_mpm.link.link import read_far
from claude_mpm.processors.delegations import DelegationProcessor
from claude_mpm.processors.transcript_turns import TranscriptTurns
from claude_mpm.processors.usage import UsageProcessor
from claude_mpm.records import TurnRecord
from claude_mpm.server.session_manager import read_piece
from claude_mpm.server.tokens import Tokens
from claude_mpm.sessions.index import Index, Position
from claude_mpm.sessions.store import decisions
from claude_mpm.wire import WIRES
from claude_mpm.wire.events import Event
from claude_mpm.wire.framing import Line, LineFramer
from claude_mpm.wire.transcript import entry_of
from journals import read_in_parts

if TYPE_CHECKING:
    from pathlib import Path

HUGE = 10**30


def events(wire: str, *messages: dict[str, Any]) -> list[Event]:
    lines = [json.dumps(message).encode() for message in messages]
    return [event for data in lines for event in WIRES[wire].decode(Line(0, data, len(data) + 1))]


@pytest.fixture
def folder(tmp_path: Path) -> SessionFolder:
    folder = SessionFolder(tmp_path / "state" / "sessions" / "s")
    folder.create()
    return folder


def meta(wire: str) -> Meta:
    return Meta(session_id="s", claude_session_id="c", orchestrator="local", environment="local",
                wire=wire, cwd="/", created_at=1.0)  # fmt: skip


# --- a server ----------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [6, 2**44, 2**63 - 1, 2**63, HUGE])
def test_behind_the_end_of_a_file_there_is_nothing(folder: SessionFolder, offset: int) -> None:
    folder.journal.path.write_bytes(b"hello\n")
    assert read_piece(folder, folder.journal.name, 5) == b"\n"
    assert read_piece(folder, folder.journal.name, offset) == b""


# --- wires ----------------------------------------------------------------------------------


def test_an_answer_is_one_line_whatever_was_decided() -> None:
    assert "\n" not in str(Answer(question="q", tool="Bash", decision="\n", by="a\u2028b"))


def test_an_empty_piece_of_a_journal_is_no_line() -> None:
    framer = LineFramer()
    assert framer.feed(b"") == []
    assert framer.feed(b"one\n") == [Line(0, b"one", 4)]


def test_half_an_emoji_in_an_answer_does_not_hide_the_end_of_its_turn() -> None:
    (said,) = events("stream-json", {"type": "assistant", "message": {"content": "cut \ud83d"}})
    assert said.data.message.content == "cut \ufffd"
    (result,) = events("stream-json", {"type": "result", "result": "\ud83d", "num_turns": 1})
    assert (result.kind, result.data.num_turns) == ("result", 1)
    typed = {"type": "user", "promptSource": "typed", "message": {"content": "\ud83d"}}
    assert entry_of(events("transcript", typed)[0]).prompt_source == "typed"


def test_a_whole_emoji_is_left_as_it_is() -> None:
    (said,) = events("stream-json", {"type": "other", "text": "\U0001f600"})
    assert said.data.fields["text"] == "\U0001f600"


@pytest.mark.parametrize("type_", ["command_lifecycle", "system", "user", "assistant"])
def test_a_line_of_a_known_type_and_another_shape_is_passed_over(type_: str) -> None:
    turns = TranscriptTurns("s")
    line = {"type": type_, "subtype": "host_state", "state": [1], "message": 7}
    assert [each for event in events("transcript", line) for each in turns(event)] == []


def test_a_line_that_claims_endless_background_agents_does_not_hang() -> None:
    line = {"type": "system", "subtype": "turn_duration", "pendingBackgroundAgentCount": 10**12}
    (told,) = TranscriptTurns("s")(events("transcript", line)[0])
    assert len(told.data.tasks) == 1000


# --- numbers that nothing can hold ----------------------------------------------------------


def test_numbers_that_the_index_cannot_hold_cost_no_turn(tmp_path: Path) -> None:
    usage = UsageProcessor("s")
    index = Index(tmp_path / "index.sqlite")
    strange = {"usage": {"input_tokens": HUGE}, "api_error_status": HUGE, "duration_ms": 1e300}
    for cost in (1.0, -1e308, 1e308, 2.0):
        line = {"type": "result", "total_cost_usd": cost, **strange}
        index.store("s", usage(events("stream-json", line)[0]), Position())
    (turn,) = index.turns("s")
    assert (turn.total_cost_usd, turn.input_tokens, turn.duration) == (2.0, 0, 0.0)
    assert turn.cost_usd == 1.0
    index.close()


def test_strange_times_of_a_delegation_are_passed_over() -> None:
    use = {"type": "tool_use", "id": "t", "name": "Task", "input": {}}
    call = {"type": "assistant", "timestamp": "0001-01-01T00:00", "message": {"content": [use]}}
    report = "<tool-use-id>t</tool-use-id><status>completed</status><duration_ms>²</duration_ms>"
    told = {"type": "system", "subtype": "task_notification", "tool_use_id": "t", "status": "x",
            "summary": "s", "usage": {"duration_ms": 10**400}}  # fmt: skip
    said = events("transcript", call, told, {"type": "queue-operation", "content": report})
    process = DelegationProcessor("s")
    found = [each.data for event in said for each in process(event)]
    assert [(each.state, each.duration) for each in found][-1] == ("completed", None)


def test_a_tool_result_that_is_no_utf_8_ends_its_delegation() -> None:
    use = {"type": "tool_use", "id": "t", "name": "Task", "input": {}}
    (call,) = events("stream-json", {"type": "assistant", "message": {"content": [use]}})
    result = b'{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"\xc3x"}]}'
    line = b'{"type":"user","message":{"content":[' + result + b"]}}"
    (told,) = WIRES["stream-json"].decode(Line(0, line, len(line) + 1))
    process = DelegationProcessor("s")
    found = [each.data for event in (call, told) for each in process(event)]
    assert [each.state for each in found] == ["running", "completed"]


# --- a reader that takes up where another was -----------------------------------------------


def test_a_code_block_that_is_open_at_the_take_up_is_still_one(folder: SessionFolder) -> None:
    folder.write_meta(meta("plain-text"))
    parts = b"BUG: it fails\n\n```\nTODO: code\n", b"```\nFEATURE: a thing\n"
    titles = [ticket.title for ticket in read_in_parts(folder, *parts).index.tickets("s")]
    assert titles == ["it fails", "a thing"]


def test_a_prompt_put_before_the_last_turn_ended_is_known_after_the_take_up(
    folder: SessionFolder,
) -> None:
    folder.write_meta(meta("transcript"))

    def put(uuid: str, state: str) -> bytes:
        told = {"type": "command_lifecycle", "command_uuid": uuid, "state": state}
        return json.dumps(told).encode() + b"\n"

    idle = b'{"type":"system","subtype":"local_command"}\n'
    store = read_in_parts(folder, put("u1", "started") + put("u2", "refused"), idle)
    assert [turn.prompts for turn in store.index.turns("s")] == [("u2",), ("u1",)]


# --- the session's folder -------------------------------------------------------------------


@pytest.mark.parametrize("text", ["1 x", "-1 -1", "1", f"{HUGE} 1", "1 2 3", ""])
def test_a_damaged_pid_file_names_no_process(folder: SessionFolder, text: str) -> None:
    folder.pid_file.path.write_text(text)
    assert folder.pids() is None


@pytest.mark.parametrize("data", [b'{"a":"\xff"}\n', b"[" * 5000 + b"\n", b"{\n"])
def test_bytes_that_are_no_json_are_told_in_one_line(folder: SessionFolder, data: bytes) -> None:
    for file in (folder.meta_file, folder.answers, folder.decisions, folder.owner):
        file.write_bytes(data)
    for reader in (SessionFolder.read_meta, read_answers, decisions):
        with pytest.raises(StorageError):
            reader(folder)
    assert read_owner(folder) == Owner()
    tokens = folder.path / "tokens.json"
    tokens.write_bytes(data)
    tokens.chmod(0o600)
    with pytest.raises(StorageError):
        Tokens(folder.path).all()


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"kind":"lock"}', '{"kind":"x\\u0000"}', '{"kind":"shell"}']
)
def test_a_damaged_link_file_is_told_in_one_line(folder: SessionFolder, text: str) -> None:
    folder.link_file.write_text(text)
    with pytest.raises(StorageError, match="resume the session"):
        read_far(folder)


def test_a_time_that_no_clock_shows_can_be_said() -> None:
    answer = Answer(question="q", tool="t", decision="deny", at=1e30)
    assert "1e+30 s" in str(answer)
    assert "1e+30 s" in str(Owner(at=1e30))


def test_a_token_whose_hash_is_no_hash_lets_nobody_in(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text('[{"name":"a","id":"i","sha256":"\u00e9","created_at":1}]')
    tokens.chmod(0o600)
    assert Tokens(tmp_path).find("mpm_i_x") is None


def test_the_millionth_message_is_the_last_and_strange_names_are_none(
    folder: SessionFolder,
) -> None:
    for name in ("999999", "1000000", "²", "x"):
        (folder.inbox / name).write_bytes(b"{}")
    inbox = Inbox(folder)
    assert inbox.put(b"new") == "1000001"
    assert inbox.names() == ["999999", "1000000", "1000001"]


def test_messages_of_another_shape_are_no_prompts_and_no_answers(folder: SessionFolder) -> None:
    strange = ('{"type":"control_response"}', '{"type":"control_response","response":true}',
               '{"type":"control_request","request":1}', '{"type":"user","uuid":"u"}',
               '{"type":"user","uuid":"v","message":"m"}')  # fmt: skip
    for number, message in enumerate((*strange, "[" * 5000)):
        (folder.inbox / f"{number:06}").write_text(message)
    (folder.inbox / "000099").write_bytes(b'{"type":"\xff"}')
    assert [prompt.text for prompt in prompts(folder)] == ["", ""]
    assert (interrupts(folder), answer_messages(folder)) == ({}, {})


# --- settings and the index -----------------------------------------------------------------


def test_variables_of_any_bytes_are_told_in_one_line() -> None:
    for name, value in (("CLAUDE_MPM_TICKETS", "\udcff"), ("CLAUDE_MPM_X\nY", "1")):
        with pytest.raises(SettingsError) as refusal:
            load_settings(environ={name: value})
        assert "\n" not in str(refusal.value)


def test_a_record_that_is_damaged_in_the_index_is_told_in_one_line(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.sqlite")
    index.store("s", [Event("turn", TurnRecord(session="s", offset=0, end=1), 0, 1)], Position(1))
    index._run("UPDATE turns SET body = ?", (b"garbage",))
    with pytest.raises(StorageError, match="remove the file: it is rebuilt"):
        index.turns()
    with pytest.raises(StorageError):
        index.store("s", [], Position(HUGE))
    index._run("UPDATE sessions SET cursor = ?", ("x",))
    with pytest.raises(StorageError):
        index.position("s")
    index.close()


def test_what_sqlite_quotes_of_a_damaged_index_stays_in_one_line(tmp_path: Path) -> None:
    Index(tmp_path / "index.sqlite").close()
    with closing(sqlite3.connect(tmp_path / "index.sqlite")) as database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute("UPDATE sqlite_schema SET sql = 'CREATE TABLE x (' || char(10) || '!'")
        database.commit()
    with pytest.raises(StorageError) as refusal:
        Index(tmp_path / "index.sqlite").turns()
    assert "\n" not in str(refusal.value)
