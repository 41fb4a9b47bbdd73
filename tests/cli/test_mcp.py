"""Sessions as MCP tools, driven by the official MCP client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import anyio
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import TextContent, TextResourceContents

from claude_mpm.cli.app import App
from claude_mpm.cli.mcp import _offered, as_tool
from claude_mpm.cli.mcp_tools import Profile, Rights, SessionTools, _answer
from claude_mpm.conversation.question import Question
from claude_mpm.engine.follow import read_to_end
from claude_mpm.errors import StorageError, UsageError
from claude_mpm.journal import orphans
from claude_mpm.orchestration.orchestrator import MPMOrchestrator
from claude_mpm.sessions.store import Store
from claude_mpm.testing.subject import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from claude_mpm.journal.answers import Answer

SECONDS = 60.0
pytestmark = pytest.mark.usefixtures("state")


@pytest.fixture
def state(tmp_path: Path, stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "state"
    monkeypatch.setenv("CLAUDE_MPM_STATE_DIR", str(folder))
    monkeypatch.setenv("CLAUDE_PATH", str(stand_in))
    yield folder
    for path in list(orphans.marked()):
        if path.is_relative_to(tmp_path):
            orphans.end(path)


@asynccontextmanager
async def client(*options: str) -> AsyncIterator[Client]:
    """Connect the official client to a server of the command."""
    code = "from claude_mpm.cli.main import main; main()"
    server = StdioServerParameters(
        command=sys.executable, args=["-c", code, "mcp", *options], env=dict(os.environ)
    )
    async with Client(stdio_client(server)) as connected:
        yield connected


async def call(connected: Client, tool: str, **arguments: Any) -> Any:
    """Call a tool and return what it says, or its error as a text."""
    with anyio.fail_after(SECONDS):
        result = await connected.call_tool(tool, arguments)
    (content,) = result.content
    assert isinstance(content, TextContent)
    text = content.text
    return f"error: {text}" if result.is_error else json.loads(text)


async def answered(connected: Client, session: str) -> Any:
    """Wait for the answer, as a client does: again and again."""
    with anyio.fail_after(SECONDS):
        while not (waited := await call(connected, "wait", session=session, seconds=5))["done"]:
            pass
    return waited


def test_a_client_starts_steers_reads_and_stops_a_session() -> None:
    async def main() -> None:
        async with client() as connected:
            tools = {tool.name for tool in (await connected.list_tools()).tools}
            assert tools == {
                "start", "send", "wait", "read", "questions", "answer", "stop", "list", "tickets",
            }  # fmt: skip
            session = (await call(connected, "start", prompt="TODO: sweep"))["session"]
            first = await answered(connected, session)
            assert first["turn"]["text"] == "Claude heard: TODO: sweep"
            assert first["turn"]["outcome"] == "completed"
            assert (await call(connected, "send", session=session, prompt="more"))["state"]
            last = await answered(connected, session)
            assert last["turn"]["text"] == "Claude heard: more"
            said = await call(connected, "read", session=session)
            assert said["text"].splitlines() == ["Claude heard: TODO: sweep", "Claude heard: more"]
            again = await call(connected, "read", session=session, offset=said["next_offset"])
            assert again["text"] == "" and not again["more"]
            (listed,) = (await call(connected, "list"))["sessions"]
            assert listed["session"] == session
            (resource,) = (await connected.list_resources()).resources
            record = await connected.read_resource(str(resource.uri))
            (content,) = record.contents
            assert isinstance(content, TextResourceContents)
            assert json.loads(content.text)["session"] == session
            assert (await call(connected, "stop", session=session))["ended"]
            assert (await call(connected, "list"))["sessions"] == []

    anyio.run(main)


def test_a_session_is_started_once_claude_has_its_prompt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Before that it is idle, and who waits for it would take it for done."""
    late, log = tmp_path / "late", tmp_path / "log"
    os.mkfifo(late)
    monkeypatch.setenv("STAND_IN_LATE", str(late))
    monkeypatch.setenv("STAND_IN_LOG", str(log))
    started: list[str] = []

    async def main() -> None:
        has_started = anyio.Event()
        async with client() as connected, anyio.create_task_group() as tasks:

            async def start() -> None:
                started.append((await call(connected, "start", prompt="hello"))["session"])
                has_started.set()

            tasks.start_soon(start)
            await anyio.to_thread.run_sync(
                until, lambda: log.exists() and b"hello" in log.read_bytes(), "no prompt came"
            )
            assert len((await call(connected, "list"))["sessions"]) == 1
            assert not started
            await anyio.to_thread.run_sync(late.write_bytes, b"")
            await has_started.wait()
            assert (await answered(connected, *started))["turn"]["text"] == "Claude heard: hello"

    anyio.run(main)


def test_a_start_whose_prompt_is_not_kept_leaves_no_session(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client gets no id, so that nobody could end it."""

    def full(*_: object, **__: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(MPMOrchestrator, "ask", full)
    app = App([])
    tools = SessionTools(app, Profile(Rights.OWN, _offered(app, ()), (Path.cwd(),), "mcp"))
    with closing(tools), closing(Store(state)) as store:
        with pytest.raises(StorageError, match="the disk is full"):
            tools.start("hello")
        (folder,) = store.sessions()
        assert folder.has_ended()


def test_a_session_that_cannot_be_released_keeps_no_other_from_it(state: Path) -> None:
    released: list[str] = []

    class Live:
        def __init__(self, name: str) -> None:
            self.name = name

        def detach(self) -> None:
            released.append(self.name)
            raise StorageError("the disk is full")

    app = App([])
    tools = SessionTools(app, Profile(Rights.OWN, _offered(app, ()), (Path.cwd(),), "mcp"))
    tools._live = {name: cast("Any", Live(name)) for name in ("first", "last")}
    with pytest.raises(StorageError, match="the disk is full"):
        tools.close()
    assert sorted(released) == ["first", "last"]


def test_a_reading_is_cut_and_goes_on_at_its_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_LINES", "30")

    async def main() -> None:
        async with client() as connected:
            session = (await call(connected, "start", prompt="one"))["session"]
            await answered(connected, session)
            await call(connected, "send", session=session, prompt="two")
            while (await call(connected, "list"))["sessions"][0]["turns"] < 2:
                pass
            texts, offset, more = [], 0, True
            while more:
                said = await call(connected, "read", session=session, offset=offset, most=10)
                texts += said["text"].splitlines()
                offset, more = said["next_offset"], said["more"]
            assert texts == [f"line {n}" for n in range(30)] * 2

    anyio.run(main)


def test_an_answer_that_is_longer_than_one_reading_is_read_whole() -> None:
    prompt = "".join(map(str, range(60_000)))  # more than two readings

    async def main() -> None:
        async with client() as connected:
            session = (await call(connected, "start", prompt=prompt))["session"]
            await answered(connected, session)
            text, more = "", True
            where: dict[str, int] = {}
            while more:
                said = await call(connected, "read", session=session, most=100_000, **where)
                assert len(said["text"]) <= 100_000
                text, more = text + said["text"], said["more"]
                where = {"offset": said["next_offset"], "skip": said["next_skip"]}
            assert text == f"Claude heard: {prompt}"
            beyond = await call(connected, "read", session=session, offset=10**30)
            assert (beyond["text"], beyond["more"]) == ("", False)

    anyio.run(main)


def test_what_claude_lets_choose_is_not_allowed_without_a_choice() -> None:
    class Answers:
        def answer(self, answer: Answer) -> Answer:
            given.append(answer.response)
            return answer

    given: list[Any] = []
    asked = {"questions": [{"question": "Which?", "options": [{"label": "A"}]}]}
    question = Question("q", {"tool_name": "AskUserQuestion", "input": asked}, Answers())
    with pytest.raises(UsageError, match=r"give `choices`, one for each: Which\?"):
        _answer(question, "allow", "", (), by="mcp:test")
    assert given == []
    _answer(question, "allow", "", ["A"], by="mcp:test")
    assert given[0]["updatedInput"]["answers"] == {"Which?": "A"}


def test_a_damaged_session_is_named_and_keeps_no_others_from_being_listed(state: Path) -> None:
    async def main() -> None:
        async with client("--rights", "all") as connected:
            session = (await call(connected, "start", prompt="TODO: sweep"))["session"]
            await answered(connected, session)
            (state / "sessions" / "torn").mkdir()
            (state / "sessions" / "torn" / "meta.json").write_text("{")
            listed = await call(connected, "list", ended=True)
            assert [each["session"] for each in listed["sessions"]] == [session]
            tickets = await call(connected, "tickets")
            assert [each["title"] for each in tickets["tickets"]] == ["sweep"]
            assert (await call(connected, "questions"))["questions"] == []
            for answer in (listed, tickets):
                (left_out,) = answer["left_out"]
                assert left_out["session"] == "torn" and "meta.json" in left_out["reason"]
            assert len((await connected.list_resources()).resources) == 1

    anyio.run(main)


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("start", {"prompt": " "}, "empty"),
        ("start", {"prompt": "x", "place": "locl"}, "did you mean 'local'?"),
        ("start", {"prompt": "x", "cwd": "/"}, "/ is not below a folder of this server"),
        ("start", {"prompt": "x", "cwd": ".."}, "is not below a folder of this server"),
        ("start", {"prompt": "x", "cwd": "out"}, "is not below a folder of this server"),
        ("start", {"prompt": "x", "cwd": "missing"}, "missing is no folder"),
        ("start", {"prompt": "x", "cwd": "a\0b"}, "is no folder"),
        ("wait", {"session": "0"}, "no session '0'"),
        ("wait", {"session": ""}, "no session ''"),
        ("stop", {"session": "../.."}, "no session '../..'"),
        ("answer", {"session": "0", "question": "q", "decision": "yes"}, "invalid decision"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_for_the_client(
    tool: str, arguments: dict[str, Any], said: str, tmp_path: Path
) -> None:
    (tmp_path / "project" / "out").symlink_to("/")

    async def main() -> None:
        async with client() as connected:
            error = await call(connected, tool, **arguments)
            assert error.startswith("error: ") and said in error and "\n" not in error
            assert (await call(connected, "list"))["sessions"] == []

    anyio.run(main)


def test_a_client_starts_sessions_in_the_named_places_that_it_is_offered(
    home: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    config = home / ".config" / "claude-mpm"
    config.mkdir(parents=True)
    (config / "settings.toml").write_text(
        "[places.near]\norchestrator = 'local'\n[places.near.options]\nmodel = 'small'\n"
        f"[places.other]\n[places.other.options]\ncwd = '{tmp_path / 'elsewhere'}'\n"
        "[places.secret]\n"
    )

    async def main() -> None:
        async with client("--place", "near", "--place", "other") as connected:
            assert "Places for start: near, other" in str(connected.instructions)
            session = (await call(connected, "start", prompt="one"))["session"]
            await answered(connected, session)
            (row,) = (await call(connected, "list"))["sessions"]
            assert (row["cwd"], row["orchestrator"]) == (str(Path.cwd()), "local")
            second = (await call(connected, "start", prompt="two", place="other"))["session"]
            await answered(connected, second)
            rows = {row["session"]: row for row in (await call(connected, "list"))["sessions"]}
            assert rows[second]["cwd"] == str(tmp_path / "elsewhere")
            for place, cwd, said in (
                ("other", ".", "has a folder of its own"), ("secret", "", "no place 'secret'"),
                ("local", "", "there are: near, other"),
            ):  # fmt: skip
                error = await call(connected, "start", prompt="x", place=place, cwd=cwd)
                assert said in error
            for each in (session, second):
                assert (await call(connected, "stop", session=each))["ended"]

    anyio.run(main)


def test_a_place_that_is_not_there_is_named_at_once() -> None:
    code = "from claude_mpm.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "mcp", "--place", "nowhere"], capture_output=True, text=True
    )
    assert done.returncode == 2 and "there is no place 'nowhere'" in done.stderr


def test_what_a_client_that_was_killed_had_started_ends_after_the_linger_time(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client and its server are killed together, in the middle of a turn."""
    monkeypatch.setenv("CLAUDE_MPM_LINGER", "0.5")
    code = "from claude_mpm.cli.main import main; main()"
    server = subprocess.Popen(
        [sys.executable, "-c", code, "mcp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdin is not None and server.stdout is not None
    named = {"name": "a test", "version": "1"}
    for message in (
        {"id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": named}},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": {
            "name": "start", "arguments": {"prompt": "hello"}}},
    ):  # fmt: skip
        server.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        server.stdin.flush()
    answers = (json.loads(line) for line in server.stdout)
    started = next(answer for answer in answers if answer.get("id") == 2)
    session = json.loads(started["result"]["content"][0]["text"])["session"]
    server.kill()
    server.wait(SECONDS)
    server.stdin.close()
    server.stdout.close()
    store = Store(state)
    with closing(store):
        folder = store.find(session)
        read_to_end(folder, store)
        assert folder.has_ended()
        until(lambda: folder.path not in orphans.marked(), "something of it runs on")


def test_own_rights_show_no_session_of_others(state: Path) -> None:
    async def main() -> None:
        async with client("--name", "first") as first, client("--name", "second") as second:
            session = (await call(first, "start", prompt="hello"))["session"]
            await answered(first, session)
            assert (await call(second, "list", ended=True))["sessions"] == []
            for tool in ("wait", "read", "stop"):
                assert "no session" in await call(second, tool, session=session)
            assert (await second.list_resources()).resources == []
        async with client("--name", "first") as again:
            (listed,) = (await call(again, "list", ended=True))["sessions"]
            assert listed["session"] == session
        async with client("--rights", "all") as all_:
            assert (await call(all_, "stop", session=session))["ended"]

    anyio.run(main)
    assert all(folder.has_ended() for folder in Store(state).sessions())


def test_who_may_only_read_changes_nothing() -> None:
    async def main() -> None:
        async with client("--name", "a") as owner, client("--rights", "read") as reader:
            session = (await call(owner, "start", prompt="hello"))["session"]
            await answered(owner, session)
            assert (await call(reader, "wait", session=session))["turn"]["text"]
            for tool, more in (
                ("start", {"prompt": "x"}), ("stop", {"session": session}),
                ("send", {"session": session, "prompt": "x"}),
                ("answer", {"session": session, "question": "q", "decision": "allow"}),
            ):  # fmt: skip
                assert "--rights read" in await call(reader, tool, **more)
            assert (await call(owner, "stop", session=session))["ended"]

    anyio.run(main)


def test_a_client_that_has_gone_leaves_nothing_beyond_the_linger_time(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_MPM_LINGER", "0.5")

    async def main() -> str:
        async with client() as connected:
            session: str = (await call(connected, "start", prompt="hello"))["session"]
            await answered(connected, session)
        return session

    store = Store(state)
    with closing(store):
        folder = store.find(anyio.run(main))
        read_to_end(folder, store)
        assert folder.has_ended()


def test_a_call_that_takes_too_long_says_where_to_look() -> None:
    def slow() -> dict[str, Any]:
        """Take too long."""
        raise TimeoutError

    with pytest.raises(ToolError, match=r"slow has not ended within 45 s; .* see list"):
        anyio.run(as_tool(slow, ToolError))


def test_over_http_nobody_gets_in_without_the_token(tmp_path: Path) -> None:
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route
    from starlette.testclient import TestClient

    from claude_mpm.cli.mcp_http import RequireToken

    inner = Starlette(routes=[Route("/mcp", lambda request: PlainTextResponse("in"))])
    http = TestClient(RequireToken(inner, "a-long-token-of-its-own"))
    assert http.get("/mcp").status_code == 401
    assert http.get("/mcp", headers={"Authorization": "Bearer other"}).status_code == 401
    good = {"Authorization": "Bearer a-long-token-of-its-own"}
    assert http.get("/mcp", headers=good).text == "in"


def test_the_address_is_said_and_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    token, words = tmp_path / "token", ["-c", "from claude_mpm.cli.main import main; main()", "mcp"]
    token.write_text("a-long-token-of-its-own")
    token.chmod(0o600)

    def started(port: str) -> subprocess.Popen[str]:
        options = ["--http", port, "--token-file", str(token)]
        return subprocess.Popen(
            [sys.executable, *words, *options], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip

    with started("0") as first:
        assert first.stderr is not None
        address = first.stderr.readline().strip()
        with pytest.raises(HTTPError) as refused:
            urlopen(address, timeout=SECONDS)
        assert refused.value.code == 401
        refused.value.close()
        port = str(urlsplit(address).port)
        with started(port) as second:
            said = second.communicate(timeout=SECONDS)[1]
        assert second.returncode == 2
        assert said.startswith(f"claude-mpm: cannot listen on 127.0.0.1:{port}: ")
        assert said.count("\n") == 1
        first.terminate()
        assert first.communicate(timeout=SECONDS)[1] == "claude-mpm: ended by signal 15\n"
        assert first.returncode == 143
    token.write_bytes(b"\xff" * 20)
    with started("0") as third:
        said = third.communicate(timeout=SECONDS)[1]
    assert said == f"claude-mpm: --token-file {token}: it is not UTF-8; save it as UTF-8\n"
