"""A notification that a session needs a person: once, with the reason and what answers it."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import socket
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from calls import call
from claude_mpm import create_orchestrator
from claude_mpm.cli.app import notify_of
from claude_mpm.config.settings import load_settings
from claude_mpm.engine.notification import (
    SECRET_VARIABLE,
    SIGNATURE,
    Notification,
    Notifications,
    Notify,
)
from claude_mpm.engine.session_watcher import watch
from claude_mpm.environments.variables import carried, inherited
from claude_mpm.errors import UsageError
from claude_mpm.sessions.store import Store
from claude_mpm.testing.subject import until
from loopback_http import LoopbackHttp

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.orchestration.orchestrator import MPMOrchestrator

    Capture = pytest.CaptureFixture[str]

SECONDS = 60.0
# Notes what it was given: its standard input, its arguments, and what begins with NOTIFY_.
TELLER = """import json, os, sys
told = {{"event": json.load(sys.stdin), "argv": sys.argv[1:]}}
told["environ"] = {{k: v for k, v in os.environ.items() if "NOTIFY" in k}}
with open({told!r}, "a") as file:
    file.write(json.dumps(told) + "\\n")
"""
HOSTILE = "$(touch /tmp/pwned); `id` \u202e\x1b[2J '\"<b>"


class Told:
    """A command that notes each notification."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "told"
        self.script = folder / "teller.py"
        self.script.write_text(TELLER.format(told=str(self._file)))
        self.command = (sys.executable, str(self.script), "an argument")

    @property
    def all(self) -> list[dict[str, Any]]:
        text = self._file.read_text() if self._file.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [each["event"] for each in self.all]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


def claude_of(notify: Notify, **options: Any) -> MPMOrchestrator:
    claude: MPMOrchestrator = create_orchestrator(
        "local", notify=notify, use_framework=False, **options
    )
    return claude


def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *events: dict[str, Any]) -> None:
    """Have the stand-in write events before its first answer."""
    file = tmp_path / "raw"
    file.write_text("".join(json.dumps(event) + "\n" for event in events))
    monkeypatch.setenv("STAND_IN_RAW", str(file))


def request(name: str, command: str) -> dict[str, Any]:
    asked = {"subtype": "can_use_tool", "tool_name": "Bash", "input": {"command": command}}
    return {"type": "control_request", "request_id": name, "request": asked}


@pytest.mark.usefixtures("stand_in")
def test_a_permission_request_is_told_once_as_data(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw(tmp_path, monkeypatch, request("q-1", HOSTILE), request("q-1", HOSTILE))
    monkeypatch.setenv("CLAUDE_MPM_NOTIFY_SECRET", "only-for-the-webhook")
    with claude_of(Notify(command=told.command), permissions="ask") as claude:
        claude.ask("hello").wait(SECONDS)
    (given,) = told.all
    event, session = given["event"], claude.session_id
    assert (event["event"], event["session"], event["tool"]) == (
        "permission-request", session, "Bash",
    )  # fmt: skip
    assert event["reason"].startswith("Claude asks whether it may use Bash: $(touch /tmp/pwned)")
    assert "\x1b" not in event["reason"]
    assert "\u202e" not in event["reason"]
    assert event["command"] == f"claude-mpm answer {session[:8]} q-1 allow|deny"
    assert given["argv"] == ["an argument"]
    assert given["environ"] == {
        "NOTIFY_EVENT": "permission-request",
        "NOTIFY_SESSION": session,
        "NOTIFY_COMMAND": event["command"],
    }


@pytest.mark.usefixtures("stand_in")
def test_the_name_of_a_request_is_no_part_of_a_command_unless_it_is_plain(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw(tmp_path, monkeypatch, request("$(id)", "ls"))
    with claude_of(Notify(command=told.command), permissions="ask") as claude:
        claude.ask("hello").wait(SECONDS)
    (event,) = told.events
    assert event["command"] == f"claude-mpm questions {claude.session_id[:8]}"


@pytest.mark.usefixtures("stand_in")
def test_a_turn_that_ended_badly_is_told_and_one_that_did_not_is_not(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    notify = Notify(command=told.command)
    with claude_of(notify) as claude:
        assert claude.ask("hello").wait(SECONDS).verdict.ok
    assert told.events == []
    monkeypatch.setenv("STAND_IN_EXIT", "7")
    with claude_of(notify) as claude:
        turn = claude.ask("hello").wait(SECONDS)
    (event,) = told.events
    assert event["event"] == "ended-badly"
    assert event["reason"] == f"the turn {turn.verdict}"
    assert event["command"] == f"claude-mpm resume {claude.session_id[:8]}"


@pytest.mark.usefixtures("stand_in")
def test_a_budget_that_is_near_is_told_once(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [
        {"type": "assistant", "message": {"id": name, "content": [], "usage": {"input_tokens": 45}}}
        for name in ("one", "two", "three")
    ]
    raw(tmp_path, monkeypatch, *said)
    with claude_of(Notify(command=told.command), session_token_limit=150) as claude:
        claude.ask("hello").wait(SECONDS)
    (event,) = told.events
    assert event["event"] == "budget-near"
    assert event["reason"] == "the budget of this session is nearly used up: 135 of 150 tokens"


class Webhook(LoopbackHttp):
    """Takes what is posted."""

    def __init__(self, status: int = 204) -> None:
        super().__init__()
        self.bodies: list[bytes] = []
        self._status = status

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        self.bodies.append(body)
        return self._status, None


@pytest.mark.usefixtures("stand_in")
def test_a_webhook_gets_the_event_with_its_signature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text("a secret of mine\n")
    raw(tmp_path, monkeypatch, request("q1", "ls"))
    with Webhook() as hook:
        url = f"http://127.0.0.1:{hook.port}/told"
        with claude_of(Notify(webhook=url, secret_file=str(secret)), permissions="ask") as claude:
            claude.ask("hello").wait(SECONDS)
        (body,) = hook.bodies
        expected = hmac.new(b"a secret of mine", body, hashlib.sha256).hexdigest()
        assert hook.headers[SIGNATURE.lower()] == f"sha256={expected}"
    assert json.loads(body)["event"] == "permission-request"


def one_event() -> Notification:
    return Notification(
        event="ended-badly", id="t1", session="s", reason="why", command="resume", at=0.0
    )


@pytest.mark.usefixtures("stand_in")
def test_a_webhook_that_speaks_no_http_ends_no_telling(caplog: pytest.LogCaptureFixture) -> None:
    with claude_of(Notify()) as claude, socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            client, _ = server.accept()
            with client:
                client.recv(1 << 16)
                client.sendall(b"220 mail.example ESMTP\r\n")

        threading.Thread(target=answer, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/told"
        folder = claude.store.folder(claude.session_id)
        assert Notifications(folder, Notify(webhook=url)).send_now(one_event())
    assert "no answer of HTTP" in caplog.text


@pytest.mark.usefixtures("stand_in")
def test_a_session_that_damages_its_journal_is_told_of(told: Told) -> None:
    with claude_of(Notify()) as claude:
        folder = claude.store.folder(claude.session_id)
    folder.journal.remove()
    os.mkfifo(folder.journal.path)
    with closing(Store()) as store:
        watch(folder, store, Notify(command=told.command))
    (found,) = told.events
    assert found["event"] == "ended-badly"
    assert "is not watched any more" in found["reason"]


@pytest.mark.usefixtures("stand_in")
def test_the_name_of_an_event_is_a_line_of_bounded_length(told: Told) -> None:
    with claude_of(Notify()) as claude:
        folder = claude.store.folder(claude.session_id)
        event = Notification(
            event="ended-badly", id="x\x1b" * 10**6, session="s", reason="", command="", at=0.0
        )
        Notifications(folder, Notify(command=told.command)).send_now(event)
    (found,) = told.events
    assert found["id"] == ("x\\x1b" * 100)[:500]


@pytest.mark.usefixtures("stand_in")
def test_what_is_posted_on_this_machine_goes_by_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with claude_of(Notify()) as claude, Webhook() as hook, Webhook() as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        notify = Notify(webhook=f"http://127.0.0.1:{hook.port}/told")
        folder = claude.store.folder(claude.session_id)
        Notifications(folder, notify).send_now(one_event())
        assert (len(hook.bodies), len(proxy.bodies)) == (1, 0)


@pytest.mark.usefixtures("stand_in")
def test_the_desktop_gets_no_markup(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    shown = tmp_path / "shown"
    (programs / "notify-send").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >"{shown}"\n')
    (programs / "notify-send").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    raw(tmp_path, monkeypatch, request("q1", "echo <b>"))
    with claude_of(Notify(desktop=True), permissions="ask") as claude:
        claude.ask("hello").wait(SECONDS)
    lines = shown.read_text().splitlines()
    assert lines[:2] == ["--app-name=claude-mpm", "--"]
    assert "echo &lt;b&gt;" in shown.read_text()


@pytest.mark.usefixtures("stand_in")
def test_what_hangs_or_fails_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    raw(tmp_path, monkeypatch, request("q1", "ls"))
    notify = Notify(command=("sh", "-c", f"read x <{pipe}; exit 3"))
    with claude_of(notify, permissions="ask") as claude:
        assert claude.ask("hello").wait(SECONDS).verdict.ok  # while the command waits
        pipe.write_text("go on\n")  # it is open for reading only while the command runs
    assert "sh ended with status 3" in caplog.text


@pytest.mark.parametrize(
    "url", ["http://example.org/x", "ftp://example.org", "https://", "x", "http://[::1"]
)
def test_a_webhook_is_https_or_of_this_machine(url: str) -> None:
    settings = load_settings({"notify_webhook": url}, environ={}).settings
    with pytest.raises(UsageError, match="notify_webhook is an https URL"):
        notify_of(settings)


def test_the_secret_reaches_no_claude() -> None:
    environ = {SECRET_VARIABLE: "only-for-the-webhook", "LANG": "C"}
    assert inherited(environ) == carried(environ) == {"LANG": "C"}


def test_the_setting_is_words_and_no_shell_reads_it() -> None:
    settings = load_settings({"notify": "tell --to 'a b; id' $HOME"}, environ={}).settings
    notify = notify_of(settings)
    assert notify is not None
    assert notify.command == ("tell", "--to", "a b; id", "$HOME")


def test_a_detached_session_is_watched_until_its_end(
    told: Told, fast: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("CLAUDE_MPM_NOTIFY", " ".join(told.command[:2]))
    monkeypatch.setenv("CLAUDE_MPM_PERMISSIONS", "ask")
    started = call(capsys, "run", "--detach", "ask")
    assert started.status == 0, started.err
    session = started.out.strip()
    until(lambda: told.events, "nobody was told")
    (event,) = told.events
    assert (event["event"], event["session"]) == ("permission-request", session)
    log = Store().folder(session).path / "notify.log"
    assert call(capsys, "stop", session).status == 0
    assert log.read_text() == ""
