"""The HTTP API: what is recorded, as it stands and as it comes, and what can be done to it."""

from __future__ import annotations

import fcntl
import json
import resource
import signal
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.fleet.ledger import Began, Ended, Ledger, Plan, create_batch
from claude_mpm.fleet.task import Outcome, Result, Task
from claude_mpm.journal.layout import SessionFolder
from claude_mpm.testing import Call, Say, Stall
from claude_mpm.testing.processes import resident_memory
from claude_mpm.testing.subject import until
from claude_mpm.web.running import listed, running_servers
from command import SECONDS, Command
from opened_page import OpenedPage, record, result, said, write

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.testing import ScriptedModel

TICKET = said("BUG: The import stops at an empty line", uuid="a1")
IDLE_STREAMS = 2000
PER_STREAM = 100 << 10  # bytes that an idle stream may cost the server


def rows(page: OpenedPage, token: str) -> list[dict[str, Any]]:
    """Return the list once all sessions were read."""
    found: dict[str, Any] = {}

    def is_complete() -> bool:
        found.update(page.call("GET", "/api/sessions", token).json)
        return bool(found["complete"])

    until(is_complete, "the list was never complete")
    return list(found["sessions"])


def row(page: OpenedPage, token: str, **expected: object) -> dict[str, Any]:
    """Wait until the only session is as expected, and return it."""
    found: dict[str, Any] = {}

    def is_so() -> bool:
        listed = rows(page, token)
        found.update(listed[0] if listed else {})
        return bool(listed) and all(found[name] == value for name, value in expected.items())

    until(is_so, f"{expected} was never so: {found}")
    return found


def test_a_recorded_session_is_listed_with_what_was_found_in_it(page: OpenedPage) -> None:
    record(page.state, "one", TICKET, result(), cwd="/shop")
    page.start()
    token = page.token()
    (found,) = rows(page, token)
    assert (found["session"], found["state"], found["cwd"]) == ("one", "ended", "/shop")
    assert (found["turns"], found["tickets"], found["cost_usd"]) == (1, 1, 0.25)
    detail = page.call("GET", "/api/sessions/one", token).json
    assert [turn["outcome"] for turn in detail["turns"]] == ["completed"]
    assert detail["turns"][0]["evidence"]
    assert detail["tickets"][0]["title"] == "The import stops at an empty line"


def test_a_failed_turn_needs_a_person(page: OpenedPage) -> None:
    record(page.state, "one", result(is_error=True, result="API Error: 500"))
    page.start()
    (found,) = rows(page, page.token())
    assert (found["needs"], found["outcome"]) == ("failed", "failed")
    assert "API Error" in found["reason"]


def test_a_damaged_session_is_listed_with_its_damage(page: OpenedPage) -> None:
    folder = record(page.state, "one")
    folder.meta_file.write_text("{")
    record(page.state, "two")
    page.start()
    listed = {each["session"]: each for each in rows(page, page.token())}
    assert listed["one"]["state"] == "damaged"
    assert listed["one"]["reason"]
    assert listed["two"]["state"] == "ended"


def test_what_changes_is_told_without_asking(page: OpenedPage) -> None:
    folder = record(page.state, "one", said("Hello."), result())
    page.start()
    token = page.token()
    rows(page, token)
    with page.stream("/api/session-changes", token) as stream:
        messages = stream.messages()
        last, event, data = next(messages)
        assert (event, data["all"]) == ("sessions", True)
        assert [each["session"] for each in data["sessions"]] == ["one"]
        write(folder, result("u2", total_cost_usd=0.5))
        _, _, data = next(messages)
        assert [each["turns"] for each in data["sessions"]] == [2]
    with page.stream("/api/session-changes", token, Last_Event_ID=last) as stream:
        _, _, data = next(stream.messages())
        assert not data["all"]
        assert [each["turns"] for each in data["sessions"]] == [2]


def test_a_new_session_and_one_that_is_removed_are_told(page: OpenedPage) -> None:
    page.start()
    token = page.token()
    rows(page, token)
    with page.stream("/api/session-changes", token) as stream:
        messages = stream.messages()
        assert next(messages)[2]["sessions"] == []
        folder = record(page.state, "one")
        assert [each["session"] for each in next(messages)[2]["sessions"]] == ["one"]
        folder.path.rename(page.state / "away")
        # It may have been seen before it was whole, and then again.
        assert next(data["gone"] for *_, data in messages if data["gone"]) == ["one"]


def test_a_journal_is_read_forwards_and_backwards_by_byte_offset(page: OpenedPage) -> None:
    folder = record(page.state, "one", *(said(f"Text {n} ü") for n in range(250)))
    page.start()
    token, at = page.token(), "/api/sessions/one/events"
    texts: list[str] = []
    end = 0
    while (part := page.call("GET", f"{at}?since={end}&limit=100", token).json)["events"]:
        texts += [each["data"]["message"]["content"][0]["text"] for each in part["events"]]
        end = part["end"]
    assert texts == [f"Text {n} ü" for n in range(250)]
    assert end == folder.journal.size()
    back = page.call("GET", f"{at}?limit=100", token).json
    assert back["end"] == end
    before = page.call("GET", f"{at}?before={back['begin']}&limit=100", token).json
    assert before["end"] == back["begin"]
    shown = [each["data"]["message"]["content"][0]["text"] for each in before["events"]]
    assert shown == texts[50:150]


def test_the_end_of_a_long_journal_is_read_without_all_of_it(page: OpenedPage) -> None:
    folder = record(page.state, "one")
    line = json.dumps(said("x" * 200)).encode() + b"\n"
    with folder.journal.path.open("ab") as journal:
        for _ in range(100):
            journal.write(line * 10_000)
    page.start()
    token = page.token()
    before = resident_memory(page.pid)
    for at in ("", f"?before={500_000 * len(line)}", f"?since={500_000 * len(line)}"):
        part = page.call("GET", f"/api/sessions/one/events{at}", token).json
        assert len(part["events"]) == 200
    assert resident_memory(page.pid) - before < 64 << 20


@pytest.mark.parametrize("query", ["since=-1", "since=999999", "before=999999", "limit=x", "x=1"])
def test_a_place_that_there_is_not_is_an_error(page: OpenedPage, query: str) -> None:
    record(page.state, "one", said("Hello."))
    page.start()
    reply = page.call("GET", f"/api/sessions/one/events?{query}", page.token())
    assert reply.status == 400
    assert reply.json["message"]


def test_a_stream_goes_on_where_its_reader_stopped(page: OpenedPage) -> None:
    folder = record(page.state, "one", said("First."), ended=False)
    page.start()
    token, at = page.token(), "/api/sessions/one/event-stream"
    with page.stream(at, token) as stream:
        messages = stream.messages()
        last, _, data = next(messages)
        assert data[0]["data"]["message"]["content"][0]["text"] == "First."
        assert int(last) == data[-1]["end"] == folder.journal.size()
    write(folder, said("Second."))
    page.restart()
    with page.stream(at, token, Last_Event_ID=last) as stream:
        messages = stream.messages()
        _, _, data = next(messages)
        assert [each["data"]["message"]["content"][0]["text"] for each in data] == ["Second."]
        write(folder, said("Third."))
        _, _, data = next(messages)
        assert [each["data"]["message"]["content"][0]["text"] for each in data] == ["Third."]


def test_what_is_no_event_is_given_as_text(page: OpenedPage) -> None:
    folder = record(page.state, "one")
    folder.journal.path.write_bytes(
        b"no json\n" + b'{"type":"new","a":"\\ud800"}\n' + b'{"type":"assistant",\r"x":NaN}\n'
        b'\xff\xfe{"type":"user"}\n[1]\n'
    )
    page.start()
    events = page.call("GET", "/api/sessions/one/events?since=0", page.token()).json["events"]
    assert events[0]["kind"] == "not-json"
    assert events[0]["data"] == {"text": "no json"}
    assert len(events) >= 4


def test_a_very_long_line_is_cut_and_can_be_had_whole(page: OpenedPage) -> None:
    folder = record(page.state, "one", said("x" * (3 << 20)))
    page.start()
    token = page.token()
    (event,) = page.call("GET", "/api/sessions/one/events", token).json["events"]
    assert event["cut"]
    assert len(json.dumps(event)) < 1 << 16
    part = f"begin={event['offset']}&end={event['end']}"
    reply = page.call("GET", f"/api/sessions/one/journal?{part}", token)
    assert reply.body == folder.journal.path.read_bytes()
    assert reply.headers["content-disposition"].startswith("attachment")


def test_a_ticket_is_closed_and_opened_again(page: OpenedPage) -> None:
    record(page.state, "one", TICKET, result())
    page.start()
    token = page.token()
    rows(page, token)
    (ticket,) = page.call("GET", "/api/tickets?state=open", token).json["tickets"]
    at = f"/api/sessions/one/tickets/{ticket['key']}"
    assert page.call("POST", at, token, {"state": "closed"}).status == 200
    assert page.call("GET", "/api/tickets?state=open", token).json["tickets"] == []
    row(page, token, tickets=0)
    assert page.call("POST", at, token, {"state": "open"}).status == 200
    assert page.call("POST", at, token, {"state": "gone"}).status == 400
    assert page.call("POST", f"{at}x", token, {"state": "open"}).status == 400


def test_a_batch_is_shown_with_what_came_of_its_tasks(page: OpenedPage) -> None:
    tasks = [Task(id="one", prompt="Mend it"), Task(id="two", prompt="Test it")]
    plan = Plan(name="night", created_at=1.0, base="/", places=("local:2",))
    ledger = Ledger(create_batch(page.state, plan, tasks))
    ledger.note(Began(task="one", attempt=1, session="s1", place="local", at=2.0))
    failed = Result(
        task="one", attempt=1, outcome=Outcome.FAILED, reason="the check failed", check=1,
        cost_usd=0.5, session="s1",
    )  # fmt: skip
    ledger.note(Ended(result=failed, final=True, at=3.0))
    ledger.close()
    page.start()
    token = page.token()
    (batch,) = page.call("GET", "/api/batches", token).json["batches"]
    assert (batch["name"], batch["state"], batch["ended"], batch["tasks"]) == (
        "night",
        "left",
        1,
        2,
    )
    assert batch["counts"] == {"failed": 1, "waiting": 1}
    detail = page.call("GET", "/api/batches/night", token).json
    assert [(t["id"], t["session"], t["reason"], t["check"]) for t in detail["tasks"]] == [
        ("one", "s1", "the check failed", 1),
        ("two", "", "", None),
    ]
    for name in ("no-such", "..", "%2e%2e", "..%2fbatches%2fnight"):
        assert page.call("GET", f"/api/batches/{name}", token).status == 404


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"text":5}', b'{"text":"x","more":1}', b"[" * 100_000, b"\xff"]
)
def test_a_body_that_cannot_be_meant_is_an_error(page: OpenedPage, body: bytes) -> None:
    record(page.state, "one")
    page.start()
    reply = page.call("POST", "/api/sessions/one/prompts", page.token(), body)
    assert reply.status == 400
    assert reply.json["error"] == "UsageError"


def test_a_body_without_end_is_cut(page: OpenedPage) -> None:
    record(page.state, "one")
    page.start()
    body = b'{"text":"' + b"x" * (17 << 20) + b'"}'
    assert page.call("POST", "/api/sessions/one/prompts", page.token(), body).status == 400


def test_two_thousand_idle_streams_cost_little(page: OpenedPage) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(2 * IDLE_STREAMS + 500, hard)
    assert wanted > IDLE_STREAMS + 100
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    try:
        folder = record(page.state, "one", said("Hello."), ended=False)
        page.start()
        token, at = page.token(), "/api/sessions/one/event-stream"
        with ExitStack() as stack:
            streams = [stack.enter_context(page.stream(at, token)) for _ in range(50)]
            before = resident_memory(page.pid)
            streams += [
                stack.enter_context(page.stream(at, token)) for _ in range(IDLE_STREAMS - 50)
            ]
            readers = [stream.messages() for stream in streams]
            assert {next(reader)[1] for reader in readers} == {"events"}
            grown = resident_memory(page.pid) - before
            assert grown < IDLE_STREAMS * PER_STREAM, f"{grown / IDLE_STREAMS:.0f} bytes each"
            for _ in range(3):
                write(folder, said("More."))
                assert {next(reader)[1] for reader in readers} == {"events"}
            assert resident_memory(page.pid) - before < 1.2 * IDLE_STREAMS * PER_STREAM
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_slow_reader_costs_no_memory_and_holds_up_nobody(page: OpenedPage) -> None:
    folder = record(page.state, "one", ended=False)
    page.start()
    token, at = page.token(), "/api/sessions/one/event-stream"
    with page.stream(at, token), page.stream(at, token) as quick:
        before = resident_memory(page.pid)
        lines = json.dumps(said("x" * 1000)).encode() + b"\n"
        with folder.journal.path.open("ab") as journal:
            for _ in range(64):
                journal.write(lines * 1000)
        size = folder.journal.size()
        assert next(int(last) for last, *_ in quick.messages() if int(last) == size)
        assert resident_memory(page.pid) - before < 48 << 20


def test_a_prompt_starts_claude_and_its_answer_comes(
    page: OpenedPage, command: Command, model: ScriptedModel
) -> None:
    model.on("and now", "Here it is.")
    command("run", "hello")
    page.start()
    token = page.token()
    name = rows(page, token)[0]["session"]
    with page.stream(f"/api/sessions/{name}/event-stream", token) as stream:
        put = page.call("POST", f"/api/sessions/{name}/prompts", token, {"text": "and now"}).json
        assert put["started"]
        seen: list[str] = []
        for _, _, data in stream.messages():
            seen += [json.dumps(each["data"]) for each in data]
            if any(each["kind"] == "result" for each in data) and "Here it is." in "".join(seen):
                break
    row(page, token, turns=2, outcome="completed")


def test_a_turn_is_interrupted_and_a_session_stopped(
    page: OpenedPage, command: Command, model: ScriptedModel
) -> None:
    model.on("count", "One.", Stall())
    command("run", "--detach", "count")
    model.wait_for_stall()
    page.start()
    token = page.token()
    name = row(page, token, state="working")["session"]
    assert page.call("POST", f"/api/sessions/{name}/interrupt", token).status == 200
    row(page, token, state="idle", outcome="interrupted")
    assert page.call("POST", f"/api/sessions/{name}/stop", token).status == 200
    row(page, token, state="ended")
    reply = page.call("POST", f"/api/sessions/{name}/interrupt", token)
    assert (reply.status, reply.json["error"]) == (409, "SessionEnded")


def test_a_permission_is_answered_once_and_the_loser_hears_who_won(
    page: OpenedPage, command: Command, model: ScriptedModel, tmp_path: Path
) -> None:
    target = tmp_path / "written.txt"
    model.on("write", Call("Write", file_path=str(target), content="written"), "Answered.")
    command("run", "--detach", "--permissions", "ask", "write")
    page.start()
    token = page.token()
    found = row(page, token, needs="permission", permission_requests=1)
    assert "Write" in found["reason"]
    (asked,) = page.call("GET", "/api/permission-requests", token).json["permission_requests"]
    assert asked["input"] == {"file_path": str(target), "content": "written"}
    at = f"/api/sessions/{asked['session']}/permission-requests/{asked['request']}"
    first = page.call("POST", at, token, {"decision": "allow"})
    assert (first.status, first.json["by"]) == (200, "web")
    second = page.call("POST", at, token, {"decision": "deny"})
    assert second.status == 409
    assert "allowed by web" in second.json["message"]
    row(page, token, needs="", state="idle")
    assert target.read_text() == "written"
    command("stop", asked["session"])


def test_a_page_that_is_ended_leaves_its_sessions_at_work(
    page: OpenedPage, command: Command, model: ScriptedModel
) -> None:
    model.on("go on", Say("Begun. "), Stall(), Say("Done."))
    command("run", "hello")
    page.start()
    token = page.token()
    name = rows(page, token)[0]["session"]
    page.call("POST", f"/api/sessions/{name}/prompts", token, {"text": "go on"})
    model.wait_for_stall()
    assert page.stop(signal.SIGTERM) == 0
    model.release()
    folder = SessionFolder(page.state / "sessions" / name)
    until(lambda: folder.journal.path.read_bytes().count(b'"type":"result"') == 2, "no answer")
    page.start()
    row(page, token, turns=2, outcome="completed")
    command("stop", name)


def test_open_pages_are_listed(page: OpenedPage) -> None:
    assert page.command("list") == ""
    page.start()
    assert page.url in page.command("list")
    page.stop()
    assert page.command("list") == ""
    assert "no page is open" in page.command("link", status=2)


def test_a_list_that_is_read_while_a_page_opens_does_not_lose_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, flock = tmp_path / "web", fcntl.flock

    def look_first(descriptor: int, how: int) -> None:
        if how == fcntl.LOCK_EX:
            assert running_servers(folder) == []
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", look_first)
    with listed(folder, "http://127.0.0.1:1"):
        assert [each.url for each in running_servers(folder)] == ["http://127.0.0.1:1"]
    assert running_servers(folder) == []


def test_a_signal_ends_a_page_from_the_moment_at_which_it_says_where_it_is(
    page: OpenedPage,
) -> None:
    code = (
        "import os, signal; from claude_mpm.cli import main, web; echo = web.echo\n"
        "def end(*words, **how): echo(*words, **how); os.kill(os.getpid(), signal.SIGTERM)\n"
        "web.echo = end; main.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "web"], env=page.environ, capture_output=True, text=True,
        timeout=SECONDS, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("the page is at http://")


def test_a_page_that_was_killed_is_not_listed(page: OpenedPage) -> None:
    page.start()
    page.stop(signal.SIGKILL)
    assert page.command("list") == ""


def test_it_ends_at_once_though_streams_are_open(page: OpenedPage) -> None:
    record(page.state, "one", said("Hello."))
    page.start()
    token = page.token()
    with page.stream("/api/sessions/one/event-stream", token) as stream:
        messages = stream.messages()
        next(messages)
        assert page.stop() == 0
        assert list(messages) == []
    assert "Cancel" not in page.log


def test_the_description_names_every_part_that_it_uses(page: OpenedPage) -> None:
    page.start()
    text = page.call("GET", "/api/openapi.json", page.token()).body.decode()
    described = json.loads(text)
    known = described["components"]["schemas"]
    used = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert used <= known.keys()
    assert {"SessionRow", "EventPage", "PermissionRequest"} <= used
    assert SECONDS
