"""What the scripted model keeps and how it is set up and ended."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.testing import Fail, Request, Say, ScriptedModel, Stop, Usage

if TYPE_CHECKING:
    from pathlib import Path


def send(model: ScriptedModel, method: str, path: str, body: str = "") -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection(model.url.removeprefix("http://"))) as connection:
        connection.request(method, path, body, {"x-api-key": "secret", "X-Test": "1"})
        response = connection.getresponse()
        return response.status, response.read()


def ask(model: ScriptedModel, prompt: str, **more: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}], **more}
    message = json.loads(send(model, "POST", "/v1/messages", json.dumps(body))[1])
    assert isinstance(message, dict)
    return message


def test_requests_are_kept_without_the_key() -> None:
    with ScriptedModel() as model:
        ask(model, "hi", system=[{"type": "text", "text": "Be kind."}], tools=[{"name": "Bash"}])
        request = model.requests[0]
    assert (request.method, request.path, request.model) == ("POST", "/v1/messages", "m")
    assert (request.prompt, request.system, request.tools) == ("hi", "Be kind.", ("Bash",))
    assert request.headers["x-test"] == "1"
    assert "secret" not in repr(request)
    assert request.text == "Be kind.\nhi"


def test_other_paths_get_a_sensible_answer() -> None:
    with ScriptedModel() as model:
        assert send(model, "HEAD", "/api/hello") == (200, b"")
        assert send(model, "GET", "/")[0] == 200
        status, body = send(model, "POST", "/v1/messages/count_tokens", '{"messages": []}')
        assert (status, json.loads(body)) == (200, {"input_tokens": 5})
        assert send(model, "POST", "/v1/nowhere")[0] == 404
        assert send(model, "POST", "/v1/messages", "{bad")[0] == 400
        assert model.requests == ()
        assert len(model.other_requests) == 4


def test_waiting_for_a_request_sees_the_past_and_the_future() -> None:
    with ScriptedModel() as model:
        ask(model, "the past")
        assert model.wait_for_request("past").prompt == "the past"
        later = threading.Thread(target=ask, args=(model, "the future"))
        later.start()
        assert model.wait_for_request(lambda r: r.prompt.endswith("future")) is model.requests[1]
        later.join()
        with pytest.raises(TimeoutError, match=r"'the past', 'the future'"):
            model.wait_for_request("never", timeout=0.01)
        with pytest.raises(TimeoutError, match="Stall"):
            model.wait_for_stall(timeout=0.01)


def test_usage_and_stop_reason_are_as_scripted() -> None:
    with ScriptedModel([Usage(input_tokens=7, output_tokens=9), "text", Stop("max_tokens")]) as m:
        message = ask(m, "hi")
    assert message["stop_reason"] == "max_tokens"
    assert (message["usage"]["input_tokens"], message["usage"]["output_tokens"]) == (7, 9)


@pytest.mark.parametrize("end", [Stop("max_tokens"), Stop("refusal")])
def test_a_message_that_ends_early_goes_on_when_asked_to(end: Stop) -> None:
    nudge = "Output token limit hit. Resume directly."
    with ScriptedModel(["half", end, "the rest"], "the next turn") as model:
        assert ask(model, "hi")["content"][0]["text"] == "half"
        assert ask(model, nudge)["content"][0]["text"] == "the rest"
        assert ask(model, "next")["content"][0]["text"] == "the next turn"
    with ScriptedModel(["half", end], "the next turn") as model:
        assert ask(model, "hi")["content"][0]["text"] == "half"
        assert ask(model, nudge)["stop_reason"] == end.reason
        assert ask(model, "next")["content"][0]["text"] == "the next turn"


def test_ids_are_the_same_in_every_run() -> None:
    def ids() -> list[str]:
        with ScriptedModel() as model:
            return [ask(model, prompt)["id"] for prompt in "abc"]

    assert ids() == ids()
    assert len(set(ids())) == 3


def broken(request: Request) -> str:
    raise KeyError(request.prompt)


def test_a_mistake_in_a_script_ends_the_turn_and_is_raised_at_the_end() -> None:
    model = ScriptedModel(default=broken).start()
    error = ask(model, "oops")["error"]
    assert "KeyError('oops')" in error["message"]
    with pytest.raises(KeyError, match="oops"):
        model.stop()
    model.stop()


def test_a_model_that_does_not_run_says_so() -> None:
    model = ScriptedModel()
    with pytest.raises(RuntimeError, match="call start"):
        _ = model.url
    with model, pytest.raises(RuntimeError, match="runs already"):
        model.start()


def test_a_model_can_be_started_again() -> None:
    model = ScriptedModel("one", "two")
    for expected in ("one", "two"):
        with model:
            assert ask(model, expected)["content"][0]["text"] == expected


@pytest.mark.parametrize(("chunk", "delay"), [(0, 0.0), (-1, 0.0), (None, -1.0)])
def test_a_pace_that_cannot_be_is_refused(chunk: int | None, delay: float) -> None:
    with pytest.raises(ValueError, match="give"):
        Say("x", chunk=chunk, delay=delay)


def test_the_environment_holds_nothing_of_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "secret")
    with ScriptedModel() as model:
        environment = model.environment(tmp_path / "new" / "home", CLAUDE_CODE_MAX_RETRIES="0")
        assert environment["ANTHROPIC_BASE_URL"] == model.url
    assert (tmp_path / "new" / "home").is_dir()
    assert environment["HOME"] == str(tmp_path / "new" / "home")
    assert environment["CLAUDE_CODE_MAX_RETRIES"] == "0"
    assert "ANTHROPIC_AUTH_TOKEN" not in environment


def test_an_error_status_that_is_not_the_apis_own() -> None:
    with ScriptedModel(Fail(418)) as model:
        assert ask(model, "tea")["error"] == {"type": "api_error", "message": "Error 418"}


def test_importing_the_package_does_not_import_the_test_double() -> None:
    code = "import sys, claude_mpm; sys.exit('claude_mpm.testing' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_many_requests_at_once() -> None:
    heard: dict[int, str] = {}

    def ask_one(number: int) -> None:
        heard[number] = ask(model, f"number {number}")["content"][0]["text"]

    with ScriptedModel() as model:
        threads = [threading.Thread(target=ask_one, args=(number,)) for number in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert heard == {number: f"Claude heard: number {number}" for number in range(40)}
