"""The official SDK's own client drives the real Claude Code over our transport."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from claude_agent_sdk import (
    ClaudeSDKClient,
    CLIConnectionError,
    PermissionResultAllow,
    PermissionResultDeny,
)
from official import Official, answer, ask, folder_of, printed

from claude_mpm.journal.answers import read_answers
from claude_mpm.journal.inbox import Inbox
from claude_mpm.testing import Call, ScriptedModel, Stall
from claude_mpm.testing.subject import until
from command import Command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claude_agent_sdk import ClaudeAgentOptions


BIG = 6_000_000  # characters; the SDK's own transport gives up at 1 MiB


@pytest.fixture
def official(model: ScriptedModel, tmp_path: Path, claude_path: str) -> Official:
    return Official(model, tmp_path / "claude-home", claude_path)


@pytest.fixture
def command(
    model: ScriptedModel, tmp_path: Path, claude_path: str, home: Path
) -> Iterator[Command]:
    command = Command(model, tmp_path / "claude-home", claude_path)
    command.environ["CLAUDE_MPM_STATE_DIR"] = str(home / ".local/state/claude-mpm")
    yield command
    command.close()


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
    assert command("resume", transport.session_id, "third").stdout == "Claude heard: third\n"
    assert "Claude heard: second" in str(model.requests[-1].body["messages"])


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
