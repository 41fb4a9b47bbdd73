"""The scripted model over plain HTTP: no Claude, so that each test takes milliseconds."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.testing import (
    Call,
    Cut,
    Delegate,
    Fail,
    Say,
    ScriptedModel,
    Stall,
    Then,
    Think,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT = 60.0


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(message: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": message["content"]}


def result_of(call: dict[str, Any], text: str = "ok") -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call["id"], "content": text}


class Client:
    """A client of the Messages API, as little of one as the tests need."""

    def __init__(self, model: ScriptedModel, **headers: str) -> None:
        self.connection = http.client.HTTPConnection(model.url.removeprefix("http://"))
        self.headers = {"x-api-key": "secret", **headers}

    def ask(self, *messages: Any, stream: bool = False, **more: Any) -> http.client.HTTPResponse:
        body = {"model": "m", "messages": [*messages], "stream": stream, **more}
        self.connection.request("POST", "/v1/messages?beta=true", json.dumps(body), self.headers)
        return self.connection.getresponse()

    def message(self, *messages: Any, **more: Any) -> dict[str, Any]:
        reply = json.loads(self.ask(*messages, **more).read())
        assert isinstance(reply, dict)
        return reply

    def say(self, *messages: Any, **more: Any) -> str:
        content = self.message(*messages, **more)["content"]
        return "|".join(block["text"] for block in content if block["type"] == "text")

    def stream(self, *messages: Any) -> list[dict[str, Any]]:
        text = self.ask(*messages, stream=True).read().decode()
        return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel() as running:
        yield running


@pytest.fixture
def client(model: ScriptedModel) -> Iterator[Client]:
    made = Client(model)
    with closing(made.connection):
        yield made


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(e["delta"].get("text", "") for e in events if e["type"] == "content_block_delta")


def test_the_default_reply_is_an_echo(client: Client) -> None:
    assert client.say(user("hi")) == "Claude heard: hi"


def test_a_stream_has_the_events_of_the_messages_api(model: ScriptedModel, client: Client) -> None:
    model.on("go", Think("hm"), Say("Hello", chunk=3), Call("Bash", command="ls"))
    events = client.stream(user("go"))
    kinds = [event["type"] for event in events]
    block = ["content_block_start", "content_block_delta"]
    assert kinds == [
        "message_start",
        *(*block, "content_block_delta", "content_block_stop"),
        *(*block, "content_block_delta", "content_block_stop"),
        *(*block, "content_block_stop"),
        "message_delta",
        "message_stop",
    ]
    assert text_of(events) == "Hello"
    assert events[-2]["delta"]["stop_reason"] == "tool_use"
    assert [e["index"] for e in events if e["type"] == "content_block_start"] == [0, 1, 2]


def test_a_message_without_a_stream_has_the_same_content(
    model: ScriptedModel, client: Client
) -> None:
    model.on("go", Think("hm"), "Hello", Stall(), Call("Bash", {"command": "ls"}))
    message = client.message(user("go"))
    assert [block["type"] for block in message["content"]] == ["thinking", "text", "tool_use"]
    assert message["content"][2]["input"] == {"command": "ls"}
    assert message["stop_reason"] == "tool_use"


def test_what_follows_a_call_is_said_when_its_result_is_in(
    model: ScriptedModel, client: Client
) -> None:
    model.on("go", "First.", Call("Bash", command="a"), Call("Bash", command="b"), "Last.")
    first = client.message(user("go"))
    text, *calls = first["content"]
    assert text["text"] == "First."
    assert [call["input"]["command"] for call in calls] == ["a", "b"]
    history = [user("go"), assistant(first), user([result_of(call) for call in calls])]
    assert client.say(*history) == "Last."
    assert client.say(*history) == "Last.", "a retry gets the same"


def test_then_keeps_two_calls_apart(model: ScriptedModel, client: Client) -> None:
    model.on("go", Call("A"), Then(), Call("B"))
    first = client.message(user("go"))
    second = client.message(user("go"), assistant(first), user([result_of(first["content"][0])]))
    assert [block["name"] for block in first["content"]] == ["A"]
    assert [block["name"] for block in second["content"]] == ["B"]


def test_a_function_sees_the_request_that_it_answers(model: ScriptedModel, client: Client) -> None:
    model.on("go", Call("Bash"), lambda request: f"It printed {request.tool_results[0].text}.")
    first = client.message(user("go"))
    results = [result_of(first["content"][0], "42")]
    assert client.say(user("go"), assistant(first), user(results)) == "It printed 42."


def test_rules_come_before_turns_and_turns_before_the_default() -> None:
    with ScriptedModel("one", ["two"], default="later") as model:
        model.on(re.compile(r"^r\d$"), "regex").on(lambda r: r.model == "big", "function")
        client = Client(model)
        with closing(client.connection):
            assert client.say(user("a")) == "one"
            assert client.say(user("r1")) == "regex"
            assert client.say(user("b"), model="big") == "function"
            assert client.say(user("c")) == "two"
            assert client.say(user("a")) == "one", "the same request again is a retry"
            assert client.say(user("d")) == "later"


def test_notes_of_claude_code_are_not_the_prompt(model: ScriptedModel, client: Client) -> None:
    reminder = {"type": "text", "text": "<system-reminder>\nbe good</system-reminder>"}
    blocks = [reminder, {"type": "text", "text": "failed before\n"}, {"type": "text", "text": "hi"}]
    assert client.say(user(blocks), {"role": "system", "content": "note"}) == "Claude heard: hi"


def test_a_prompt_after_an_interrupted_call_is_a_prompt(
    model: ScriptedModel, client: Client
) -> None:
    model.on("go", Call("Bash"), "never said")
    first = client.message(user("go"))
    blocks = [
        result_of(first["content"][0], "rejected"),
        {"type": "text", "text": "[Request interrupted by user for tool use]\n"},
        {"type": "text", "text": "next"},
    ]
    assert client.say(user("go"), assistant(first), user(blocks)) == "Claude heard: next"


def test_a_subagent_plays_what_the_delegation_says(model: ScriptedModel, client: Client) -> None:
    model.on("ship", Delegate("qa", "Test it", does="Green."), "Shipped.")
    call = client.message(user("ship"))["content"][0]
    assert (call["name"], call["input"]["subagent_type"]) == ("Agent", "qa")
    assert call["input"]["run_in_background"] is False
    client.headers["x-claude-code-agent-id"] = "a1"
    assert client.say(user("Test it")) == "Green."
    assert model.requests[-1].is_subagent
    assert not model.requests[0].is_subagent


@pytest.mark.parametrize("in_its_own_turn", [True, False])
def test_the_end_of_background_work_is_heard_once(
    model: ScriptedModel, client: Client, in_its_own_turn: bool
) -> None:
    model.on("go", Delegate("qa", "Test", background=True, when_done="Back."), "It runs.")
    first = client.message(user("go"))
    call = first["content"][0]
    note = f"<task-notification><tool-use-id>{call['id']}</tool-use-id></task-notification>"
    history = [user("go"), assistant(first), user([result_of(call, "launched")])]
    if in_its_own_turn:
        second = client.message(*history)
        notified = user(f"<system-reminder>{note}</system-reminder>")
        assert client.say(*history, assistant(second), notified) == "Back."
        assert model.requests[-1].is_notification
    else:
        second = client.message(*history, {"role": "system", "content": note})
        assert [block["text"] for block in second["content"]] == ["It runs.", "Back."]
    assert model.requests[-1].notifications == (call["id"],)
    assert client.say(*history, assistant(second), user("more")) == "Claude heard: more"


def test_requests_that_claude_makes_for_itself_use_up_no_turn() -> None:
    with ScriptedModel("the turn") as model:
        client = Client(model)
        with closing(client.connection):
            assert client.say(user("quota"), max_tokens=1) == "ok"
            for asked in ("Generate a short title for this", "You are naming a coding session so"):
                assert client.say(user("x"), system=asked) == "ok"
            compaction = user("CRITICAL: Respond with TEXT ONLY. Do NOT call any tools.")
            assert client.say(compaction).startswith("<summary>")
            assert client.say(user("hi")) == "the turn"
        assert [request.is_side for request in model.requests] == [True, True, True, True, False]


@pytest.mark.parametrize("status", [400, 401, 429, 500, 529])
def test_errors_of_the_api(model: ScriptedModel, client: Client, status: int) -> None:
    model.on("go", Fail(status, times=2, retry_after=1.5), "Recovered.")
    for _ in range(2):
        response = client.ask(user("go"))
        assert response.status == status
        assert response.headers["retry-after"] == "1.5"
        assert json.loads(response.read())["type"] == "error"
    assert client.say(user("go")) == "Recovered."


def test_an_error_within_a_stream(model: ScriptedModel, client: Client) -> None:
    model.on("go", "half", Fail(529, message="busy"))
    last = client.stream(user("go"))[-1]
    assert last["error"] == {"type": "overloaded_error", "message": "busy"}


def test_a_cut_ends_the_first_attempt_only(model: ScriptedModel, client: Client) -> None:
    model.on("go", "half", Cut(), "whole")
    with pytest.raises(http.client.IncompleteRead) as broken:
        client.ask(user("go"), stream=True).read()
    assert b"half" in broken.value.partial
    client.connection.close()
    assert text_of(client.stream(user("go"))) == "halfwhole"


def test_a_stall_waits_for_release(model: ScriptedModel, client: Client) -> None:
    model.on("go", "a", Stall(), "b")
    events: list[dict[str, Any]] = []
    reader = threading.Thread(target=lambda: events.extend(client.stream(user("go"))))
    reader.start()
    model.wait_for_stall()
    assert not events
    model.release()
    reader.join(WAIT)
    assert text_of(events) == "ab"
    assert [e["type"] for e in events].count("content_block_start") == 1


def test_stop_ends_a_stall_and_leaves_nothing_behind() -> None:
    before = set(threading.enumerate())
    with ScriptedModel(["a", Stall()]) as model:
        address = model.url.removeprefix("http://").split(":")
        client = Client(model)
        response = client.ask(user("go"), stream=True)
        model.wait_for_stall()
    assert set(threading.enumerate()) <= before  # another one's may have ended meanwhile
    with closing(client.connection), pytest.raises(http.client.IncompleteRead):
        response.read()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address[0], int(address[1])))


def test_a_client_that_goes_away_ends_its_stall(
    capsys: pytest.CaptureFixture[str], model: ScriptedModel, client: Client
) -> None:
    model.on("go", "a", Stall(), "b").on("drip", Say("x" * 1000, chunk=1, delay=0.001))
    for prompt in ("go", "drip"):
        response = client.ask(user(prompt), stream=True)
        response.readline()
        response.close()
        client.connection.close()
    assert client.say(user("still there?")) == "Claude heard: still there?"
    model.stop()
    assert capsys.readouterr() == ("", "")
