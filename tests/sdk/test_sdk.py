"""The official SDK's own client drives the real Claude Code over our transport."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from claude_agent_sdk import (
    ClaudeSDKClient,
    CLIConnectionError,
    CLINotFoundError,
    HookMatcher,
    PermissionResultAllow,
    PermissionResultDeny,
    ProcessError,
    ResultError,
    create_sdk_mcp_server,
    query,
    tool,
)
from sessions import Official, answer, ask, folder_of

from claude_mpm.environments.docker import Docker
from claude_mpm.environments.ssh import SSH
from claude_mpm.journal.answers import read_answers
from claude_mpm.journal.inbox import Inbox
from claude_mpm.testing import Call, Fail, ScriptedModel, Stall
from claude_mpm.testing.remains import Remains
from claude_mpm.testing.subject import until
from command import Command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claude_agent_sdk import ClaudeAgentOptions

    from claude_mpm.environments.base import Environment
    from claude_mpm.sdk import PlaceTransport
    from claude_mpm.testing import Request
    from real_places import Engine, SSHServer

BIG = 6_000_000  # characters; the SDK's own transport gives up at 1 MiB


@pytest.fixture
def official(model: ScriptedModel, tmp_path: Path, claude_path: str) -> Official:
    return Official(model, tmp_path / "claude-home", claude_path)


@pytest.fixture
def command(
    model: ScriptedModel, tmp_path: Path, claude_path: str, home: Path
) -> Iterator[Command]:
    command = Command(model, tmp_path / "command-home", claude_path)
    command.environ["CLAUDE_MPM_STATE_DIR"] = str(home / ".local/state/claude-mpm")
    yield command
    command.close()


def printed(request: Request) -> str:
    return "It printed: " + request.tool_results[-1].text


def nothing_is_left(transport: PlaceTransport) -> None:
    remains = Remains(folder_of(transport))
    until(lambda: not remains.found(), "something of the session is left")


def test_two_turns_are_a_conversation_and_in_the_record(
    official: Official, model: ScriptedModel, command: Command
) -> None:
    model.on("first", "I see.\n\nTODO: write the manual")

    async def talk(client: ClaudeSDKClient) -> None:
        assert (await ask(client, "first")).result == "I see.\n\nTODO: write the manual"
        assert (await ask(client, "second")).result == "Claude heard: second"

    transport = official.talk(talk)
    assert "write the manual" in str(model.requests[-1].body["messages"])
    (row,) = command.json("ps", "--all")
    assert (row["session"], row["state"], row["turns"]) == (transport.session_id, "ended", 2)
    assert [each["title"] for each in command.json("tickets")] == ["write the manual"]
    assert "Claude heard: second" in command("logs", transport.session_id).stdout


# --- other places -----------------------------------------------------------------------------


def container(docker: Engine) -> Environment:
    claude = f"{docker.claude}:/usr/local/bin/claude:ro"
    return Docker(image=docker.image, network="host", mounts=[claude])


def use_everything(
    official: Official, model: ScriptedModel, place: Environment, claude: Any
) -> Any:
    """Use all that goes back and forth between Claude there and the program here."""
    model.on("add", Call("mcp__here__pid"), printed)
    model.on("run", Call("Bash", command="touch made; id -u"), printed)
    asked, hooked = [], []

    @tool("pid", "The number of the program's process.", {})
    async def pid(_: Any) -> dict[str, Any]:
        return {"content": [{"type": "text", "text": f"pid {os.getpid()}"}]}

    async def allow(name: str, *_: Any) -> PermissionResultAllow:
        asked.append(name)
        return PermissionResultAllow()

    async def note(hook: Any, *_: Any) -> Any:
        hooked.append(hook["tool_name"])
        return {}

    async def talk(client: ClaudeSDKClient) -> None:
        assert (await ask(client, "add")).result == f"It printed: pid {os.getpid()}"
        printed_there = (await ask(client, "run")).result or ""
        assert re.fullmatch(r"It printed: [1-9]\d+", printed_there), "nobody may be root there"

    options = official.options(
        cli_path=claude,
        can_use_tool=allow,
        hooks={"PreToolUse": [HookMatcher(hooks=[note])]},
        mcp_servers={"here": create_sdk_mcp_server("here", tools=[pid])},
    )
    transport = official.talk(talk, options, official.transport(options, environment=place))
    assert asked == ["mcp__here__pid", "Bash"]
    assert hooked == ["mcp__here__pid", "Bash"]
    return transport


def test_in_a_container_with_permissions_hooks_and_tools_of_this_process(
    official: Official, model: ScriptedModel, docker: Engine
) -> None:
    Path().chmod(0o777)  # who Claude is there may write here
    transport = use_everything(official, model, container(docker), None)
    place = folder_of(transport).read_place()
    assert len(place["container"]) == 64
    assert Path("made").exists()
    nothing_is_left(transport)
    left = subprocess.run(
        ["docker", "ps", "--all", "--quiet", "--no-trunc"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert place["container"] not in left.stdout


def test_on_another_machine(official: Official, model: ScriptedModel, sshd: SSHServer) -> None:
    place = SSH(sshd.host, config=sshd.config)
    transport = use_everything(official, model, place, sshd.claude)
    assert folder_of(transport).read_place()["user"] == sshd.user
    nothing_is_left(transport)


def test_a_conversation_goes_on_in_a_new_container(
    official: Official, model: ScriptedModel, docker: Engine
) -> None:
    async def talk(client: ClaudeSDKClient) -> None:
        await ask(client, "remember the bat")

    first = official.options(cli_path=None)
    name = official.talk(
        talk, first, official.transport(first, environment=container(docker))
    ).session_id
    again = official.options(cli_path=None, resume=name)
    official.talk(talk, again, official.transport(again, environment=container(docker)))
    assert str(model.requests[-1].body["messages"]).count("Claude heard: remember the bat") == 1


# --- what goes in and out ---------------------------------------------------------------------


def test_a_message_of_6_mb_passes_in_both_directions(
    official: Official, model: ScriptedModel
) -> None:
    model.on("say much", "ä" * BIG)
    model.on("hear much", lambda request: f"{request.prompt.count('ö')} heard")

    async def talk(client: ClaudeSDKClient) -> None:
        assert (await ask(client, "hear much" + "ö" * 1_500_000)).result == "1500000 heard"
        assert ((await ask(client, "say much")).result or "").count("ä") == BIG

    official.talk(talk)


def test_a_system_prompt_longer_than_an_argument_can_be_arrives(
    official: Official, model: ScriptedModel
) -> None:
    async def talk(client: ClaudeSDKClient) -> None:
        await ask(client, "hello")

    for prompt in ("You are a bat." * 20_000, {"type": "preset", "append": "You are an owl."}):
        official.talk(talk, official.options(system_prompt=prompt))
    first, second = (str(request.body["system"]) for request in model.requests)
    assert "You are a bat." * 20_000 in first
    assert "Claude Code" not in first
    assert "Claude Code" in second, "its own prompt stays"
    assert "You are an owl." in second


def test_claude_is_given_what_the_sdks_own_transport_gives_it(
    official: Official, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name, value in official.environ.items():
        monkeypatch.setenv(name, value)
    own: list[list[str]] = []

    async def talk(client: ClaudeSDKClient) -> None:
        await client.query("hello")
        own.append([type(message).__name__ async for message in client.receive_response()])

    async def with_its_own(options: ClaudeAgentOptions) -> None:
        async with ClaudeSDKClient(options) as client:
            await talk(client)

    async def allow(*_: Any) -> PermissionResultAllow:
        return PermissionResultAllow()

    options = official.options(can_use_tool=allow, system_prompt="Be brief.")
    asyncio.run(with_its_own(options))
    official.talk(talk, options, official.transport(options, environ=None))
    theirs, ours = (request.body for request in model.requests)
    assert ours["tools"] == theirs["tools"]
    assert ours["system"][1:] == theirs["system"][1:]  # the first one counts and is not for Claude
    assert own[0] == own[1]


def test_a_prompt_has_an_identity_and_sent_again_is_not_run_again(
    official: Official, model: ScriptedModel
) -> None:
    line = {"type": "user", "message": {"role": "user", "content": "once"}, "uuid": "it-is-i"}

    async def talk(client: ClaudeSDKClient) -> None:
        transport = client._transport
        assert transport is not None
        text = json.dumps(line) + "\n"
        await transport.write(text[:20])  # half a line waits for the other half
        await transport.write(text[20:] + text)
        await answer(client)
        await ask(client, "afterwards")

    transport = official.talk(talk)
    assert [r.prompt for r in model.requests if "once" in r.prompt] == ["once"]
    inbox = Inbox(folder_of(transport))
    sent = [json.loads(inbox.read(name)) for name in inbox.names()]
    identities = [message["uuid"] for message in sent if message["type"] == "user"]
    assert identities[:2] == ["it-is-i", "it-is-i"]
    assert len(identities[2]) == 36


def test_what_is_no_json_is_refused_and_claude_lives_on(official: Official) -> None:
    async def talk(client: ClaudeSDKClient) -> None:
        transport = client._transport
        assert transport is not None
        with pytest.raises(CLIConnectionError, match="no line of JSON"):
            await transport.write("hello\n")
        assert (await ask(client, "hello")).result == "Claude heard: hello"

    official.talk(talk)


def test_standard_error_is_told(official: Official) -> None:
    lines: list[str] = []

    async def talk(client: ClaudeSDKClient) -> None:
        await ask(client, "hello")

    def tell(line: str) -> None:
        lines.append(line)
        raise ValueError("a function of the user's may raise anything")

    options = official.options(
        stderr=tell, model="no-such-model", extra_args={"debug-to-stderr": None}
    )
    official.talk(talk, options)
    assert len(lines) > 1


# --- questions and interrupts -----------------------------------------------------------------


def test_a_question_is_denied_once_and_allowed_once(
    official: Official, model: ScriptedModel
) -> None:
    model.on("touch", Call("Bash", command="touch here"), printed)
    decisions: list[PermissionResultDeny | PermissionResultAllow]
    decisions = [PermissionResultDeny(message="not today"), PermissionResultAllow()]
    made = []

    async def decide(*_: Any) -> PermissionResultDeny | PermissionResultAllow:
        made.append("here" in os.listdir())
        return decisions.pop(0)

    async def talk(client: ClaudeSDKClient) -> None:
        assert "not today" in ((await ask(client, "touch")).result or "")
        await ask(client, "touch")

    transport = official.talk(talk, official.options(can_use_tool=decide))
    assert made == [False, False]
    assert Path("here").exists()
    kept = read_answers(folder_of(transport)).values()
    assert [(answer.tool, answer.decision, answer.reason) for answer in kept] == [
        ("Bash", "deny", "not today"),
        ("Bash", "allow", ""),
    ]


def test_a_question_that_somebody_else_answers_is_over(
    official: Official, model: ScriptedModel, command: Command
) -> None:
    model.on("touch", Call("Bash", command="touch here"), printed)
    transport = official.transport(official.options(can_use_tool=_never))

    async def talk(client: ClaudeSDKClient) -> None:
        await client.query("touch")
        await asyncio.to_thread(until, lambda: command.json("questions"), "Claude asks nothing")
        await asyncio.to_thread(command, "answer", transport.session_id, "deny")
        await answer(client)

    official.talk(talk, official.options(can_use_tool=_never), transport)
    assert not Path("here").exists()


async def _never(*_: Any) -> PermissionResultAllow:
    await asyncio.Event().wait()
    return PermissionResultAllow()


def test_an_interrupted_turn_ends_and_the_conversation_goes_on(
    official: Official, model: ScriptedModel
) -> None:
    model.on("slowly", "what was said", Stall(), "never said")

    async def talk(client: ClaudeSDKClient) -> None:
        await client.query("slowly")
        await asyncio.to_thread(model.wait_for_stall)
        await client.interrupt()
        assert (await answer(client)).subtype == "error_during_execution"
        assert (await ask(client, "again")).result == "Claude heard: again"

    official.talk(talk)


# --- the end ----------------------------------------------------------------------------------


def test_a_single_query_ends_with_its_answer(official: Official) -> None:
    async def once() -> list[Any]:
        transport = official.transport()
        messages = query(prompt="hello", options=official.options(), transport=transport)
        found = [message async for message in messages]
        assert folder_of(transport).exit_status() == 0
        return found

    assert asyncio.run(once())[-1].result == "Claude heard: hello"


def test_a_failed_turn_says_why_as_with_the_sdks_own_transport(
    official: Official, model: ScriptedModel
) -> None:
    model.on("rude", Fail(400, message="Please be kind."))

    async def once() -> None:
        messages = query(prompt="rude", options=official.options(), transport=official.transport())
        async for _ in messages:
            pass

    with pytest.raises(ResultError, match="be kind"):
        asyncio.run(once())


async def only_connect(client: ClaudeSDKClient) -> None:
    await client.get_server_info()


def test_what_does_not_start_says_why(official: Official, tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="unknown option '--nonsense'"):
        official.talk(only_connect, official.options(extra_args={"nonsense": None}))
    with pytest.raises(CLINotFoundError, match="there is no such file"):
        official.talk(only_connect, official.options(cli_path=tmp_path / "nothing"))
    with pytest.raises(CLIConnectionError, match="there is no folder"):
        official.talk(only_connect, official.options(cwd=tmp_path / "nowhere"))
    with pytest.raises(CLIConnectionError, match="there is no session unheard-of to resume"):
        official.talk(only_connect, official.options(resume="unheard-of"))


def test_a_claude_that_is_killed_is_an_error_and_not_silence(
    official: Official, model: ScriptedModel
) -> None:
    model.on("slowly", "what was said", Stall())
    transport = official.transport()

    async def talk(client: ClaudeSDKClient) -> None:
        await client.query("slowly")
        await asyncio.to_thread(model.wait_for_stall)
        pids = folder_of(transport).pids()
        assert pids is not None
        os.kill(pids[1], 9)
        await answer(client)

    with pytest.raises(ProcessError, match="exit code: 137"):
        official.talk(talk, None, transport)
    assert not transport.is_ready()


def open_files() -> list[str]:
    """Return what this process has open, but for the listing itself."""
    links = list(Path("/proc/self/fd").iterdir())
    return sorted(str(link.readlink()) for link in links if link.is_symlink())


def test_leaving_in_the_middle_of_a_turn_leaves_nothing(tmp_path: Path, claude_path: str) -> None:
    async def talk(client: ClaudeSDKClient) -> None:
        await client.query("slowly")
        async for message in client.receive_response():
            if type(message).__name__ == "AssistantMessage":
                break

    before, threads = open_files(), set(threading.enumerate())
    with ScriptedModel() as model:
        model.on("slowly", Call("Bash", command="setsid tail -f /dev/null & tail -f /dev/null"))
        official = Official(model, tmp_path / "claude-home", claude_path)
        transport = official.talk(talk, official.options(allowed_tools=["Bash"]))
    assert not transport.is_ready()
    nothing_is_left(transport)
    for thread in set(threading.enumerate()) - threads:
        thread.join(60)
        assert not thread.is_alive(), thread
    assert open_files() == before


def test_a_start_that_is_cancelled_leaves_nothing(official: Official) -> None:
    for seconds in (0.01, 0.3):
        transport = official.transport()

        async def connect(transport: PlaceTransport = transport) -> None:
            async with ClaudeSDKClient(official.options(), transport=transport):
                await asyncio.Event().wait()

        with pytest.raises(TimeoutError):
            asyncio.run(asyncio.wait_for(connect(), seconds))
        assert not transport.is_ready()
        if folder_of(transport).path.exists():
            nothing_is_left(transport)


def test_closing_is_safe_before_a_start_and_twice(official: Official) -> None:
    async def close() -> None:
        transport = official.transport()
        await transport.close()
        assert not transport.is_ready()
        await transport.connect()
        assert transport.is_ready()
        await transport.close()
        await transport.close()
        with pytest.raises(CLIConnectionError, match="connect"):
            await transport.write("{}\n")

    asyncio.run(close())


# --- a program that dies ----------------------------------------------------------------------

_PROGRAM = """
import asyncio, json, sys
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient
from claude_mpm.sdk import PlaceTransport

async def decide(*_):
    print("asked", flush=True)
    await asyncio.Event().wait()

async def main():
    options = ClaudeAgentOptions(cli_path=sys.argv[1], can_use_tool=decide)
    transport = PlaceTransport(options, session_id="mine", environ=json.loads(sys.argv[2]))
    async with ClaudeSDKClient(options, transport=transport) as client:
        await client.query("touch")
        async for _ in client.receive_response():
            pass

asyncio.run(main())
"""


def test_a_killed_programs_question_is_answered_by_the_next_one(
    official: Official, model: ScriptedModel, claude_path: str
) -> None:
    model.on("touch", Call("Bash", command="touch here"), "Done.")
    words = [sys.executable, "-c", _PROGRAM, claude_path, json.dumps(official.environ)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "asked\n"
        program.kill()

    async def allow(*_: Any) -> PermissionResultAllow:
        return PermissionResultAllow()

    async def talk(client: ClaudeSDKClient) -> None:
        assert (await answer(client)).result == "Done."
        assert (await ask(client, "next")).result == "Claude heard: next"

    options = official.options(can_use_tool=allow)
    transport = official.talk(talk, options, official.transport(options, session_id="mine"))
    assert Path("here").exists()
    assert len(folder_of(transport).read_meta().starts) == 1


def test_who_comes_between_two_turns_is_not_told_of_the_last_one(official: Official) -> None:
    second = official.transport(session_id="shared")

    async def talk(client: ClaudeSDKClient) -> None:
        await ask(client, "one")
        async with ClaudeSDKClient(official.options(), transport=second) as another:
            assert (await ask(another, "two")).result == "Claude heard: two"
        with contextlib.suppress(ProcessError):
            assert [message async for message in client.receive_messages()]

    official.talk(talk, None, official.transport(session_id="shared"))
