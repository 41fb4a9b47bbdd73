"""The official SDK's own client drives a Claude in a container, and on another machine."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from claude_agent_sdk import (
    ClaudeSDKClient,
    HookMatcher,
    PermissionResultAllow,
    create_sdk_mcp_server,
    tool,
)
from official import Official, ask, folder_of, nothing_is_left, printed

from claude_mpm.environments.docker import Docker
from claude_mpm.environments.ssh import SSH
from claude_mpm.testing import Call, ScriptedModel

if TYPE_CHECKING:
    from claude_mpm.environments.base import Environment
    from real_places import Engine, SSHServer


@pytest.fixture
def official(model: ScriptedModel, tmp_path: Path, claude_path: str) -> Official:
    return Official(model, tmp_path / "claude-home", claude_path)


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
