"""Every way in which the SDK's client and its Claude can part."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
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
    PermissionResultAllow,
    ProcessError,
    ResultError,
    query,
)
from official import Official, answer, ask, folder_of, nothing_is_left

from claude_mpm.testing import Call, Fail, ScriptedModel, Stall

if TYPE_CHECKING:
    from claude_mpm.sdk import PlaceTransport


@pytest.fixture
def official(model: ScriptedModel, tmp_path: Path, claude_path: str) -> Official:
    return Official(model, tmp_path / "claude-home", claude_path)


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


def open_files() -> set[str]:
    """Return what this process has open, but for the listing itself."""
    links = list(Path("/proc/self/fd").iterdir())
    return {str(link.readlink()) for link in links if link.is_symlink()}


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
    assert not open_files() - before


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
