"""An option of the SDK means in every place what it means to the SDK's own transport."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from claude_agent_sdk import (
    ClaudeAgentOptions,
    ClaudeSDKError,
    InMemorySessionStore,
    PermissionResultAllow,
    query,
)

from claude_mpm.environments.terminal import Terminal
from claude_mpm.errors import UsageError
from claude_mpm.sdk import PlaceTransport
from claude_mpm.sdk.arguments import _KNOWN, _REFUSED, system_prompt, variables

# Every option that becomes an argument, in two sets that exclude each other, and what is default.
OPTIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "all": {
        "tools": ["Bash", "Read"],
        "allowed_tools": ["Read", "Bash(ls *)"],
        "disallowed_tools": ["WebFetch", "WebSearch"],
        "system_prompt": {"type": "file", "path": "/prompt.md"},
        "mcp_servers": {
            "one": {"command": "true"},
            "two": {"type": "http", "url": "http://[::1]/"},
        },
        "strict_mcp_config": True,
        "permission_mode": "plan",
        "max_turns": 3,
        "max_budget_usd": 0.5,
        "model": "opus",
        "fallback_model": "haiku",
        "betas": ["context-1m-2025-08-07"],
        "settings": '{"env": {}}',
        "add_dirs": ["/one", Path("/two")],
        "extra_args": {"debug-file": "/log", "bare": None, "name": "-dash"},
        "include_partial_messages": True,
        "include_hook_events": True,
        "setting_sources": [],
        "skills": ["pdf"],
        "sandbox": {"enabled": True},
        "plugins": [{"type": "local", "path": "/plugin"}],
        "thinking": {"type": "enabled", "budget_tokens": 2000, "display": "summarized"},
        "effort": "high",
        "output_format": {"type": "json_schema", "schema": {"type": "object"}},
        "task_budget": {"total": 1000},
    },
    "others": {
        "tools": {"type": "preset", "preset": "claude_code"},
        "system_prompt": {"type": "preset", "preset": "claude_code"},
        "skills": "all",
        "thinking": {"type": "disabled"},
        "mcp_servers": "/servers.json",
        "settings": "/settings.json",
        "permission_prompt_tool_name": "mcp__one__ask",
        "output_format": {"type": "other"},
    },
    "more": {"max_thinking_tokens": 1000, "system_prompt": "", "setting_sources": ["project"]},
    "adaptive": {"thinking": {"type": "adaptive"}, "tools": []},
}
# Flags with a list, which may stand once with all or several times with one each.
_LISTS = ("--allowedTools", "--disallowedTools")


async def allow(*_: Any) -> PermissionResultAllow:
    return PermissionResultAllow()


def started_with(options: ClaudeAgentOptions, transport: Any, log: Path) -> list[str]:
    """Return the arguments that `claude` is started with."""
    log.unlink(missing_ok=True)

    async def run() -> None:
        with contextlib.suppress(ClaudeSDKError):
            async for _ in query(prompt="hello", options=options, transport=transport):
                pass

    asyncio.run(run())
    first = json.loads(log.read_text().splitlines()[0])
    return [str(word) for word in first["argv"]]


def by_flag(words: list[str]) -> dict[str, list[str]]:
    """Return the values of each flag, in the one way of the several in which they can be given."""
    found: dict[str, list[str]] = {}
    flag = ""
    for word in words:
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            found.setdefault(flag, []).extend([value] if equals else [])
        else:
            found[flag].append(word)
    lists = {flag: ",".join(found[flag]).split(",") for flag in _LISTS if flag in found}
    return {**found, **lists}


@pytest.mark.parametrize("kind", OPTIONS)
def test_claude_is_started_as_by_the_sdks_own_transport(
    kind: str, stand_in: Path, tmp_path: Path
) -> None:
    options = ClaudeAgentOptions(cli_path=stand_in, **OPTIONS[kind])
    log = tmp_path / "stand-in.jsonl"
    theirs = by_flag(started_with(options, None, log))
    words = started_with(options, PlaceTransport(options), log)
    assert words.pop(0) == "-p"
    ours = by_flag(words)
    assert len(ours.pop("--session-id")) == 1
    assert ours == theirs


def test_questions_come_to_the_sdk_where_it_answers_them(stand_in: Path, tmp_path: Path) -> None:
    options = ClaudeAgentOptions(cli_path=stand_in, can_use_tool=allow)
    words = started_with(options, PlaceTransport(options), tmp_path / "stand-in.jsonl")
    assert by_flag(words[1:])["--permission-prompt-tool"] == ["stdio"]


def test_every_option_of_the_sdk_is_taken_or_refused_with_a_reason() -> None:
    names = {field.name for field in dataclasses.fields(ClaudeAgentOptions)}
    assert names == _KNOWN | {*_REFUSED}


def test_what_would_have_no_effect_is_refused() -> None:
    with pytest.raises(UsageError, match="name it with session_id"):
        PlaceTransport(ClaudeAgentOptions(continue_conversation=True))
    with pytest.raises(UsageError, match="'session_store'"):
        PlaceTransport(ClaudeAgentOptions(session_store=InMemorySessionStore()))
    with pytest.raises(UsageError, match="one of the two"):
        PlaceTransport(ClaudeAgentOptions(can_use_tool=allow, permission_prompt_tool_name="x"))
    with pytest.raises(UsageError, match="must be JSON"):
        PlaceTransport(ClaudeAgentOptions(sandbox={"enabled": True}, settings="/file.json"))
    with pytest.raises(UsageError, match="terminal has none"):
        PlaceTransport(environment=Terminal())


def test_an_option_of_a_newer_sdk_is_refused() -> None:
    newer = dataclasses.make_dataclass(
        "Newer", [("colour", str, "red")], bases=(ClaudeAgentOptions,)
    )
    PlaceTransport(newer())
    with pytest.raises(UsageError, match="'colour' of the SDK: it is not known"):
        PlaceTransport(newer(colour="blue"))


def test_variables_and_the_system_prompt_are_no_arguments() -> None:
    options = ClaudeAgentOptions(
        env={"MINE": "1"}, client_app="app/1", enable_file_checkpointing=True
    )
    environ = variables(options)
    assert (environ["MINE"], environ["CLAUDE_AGENT_SDK_CLIENT_APP"]) == ("1", "app/1")
    assert environ["CLAUDE_CODE_ENABLE_SDK_FILE_CHECKPOINTING"] == "true"
    custom = ClaudeAgentOptions(system_prompt={"type": "custom", "prompt": "Be brief."})
    assert system_prompt(custom) == {"systemPrompt": "Be brief."}


def test_without_the_sdk_one_line_says_how_to_install_it() -> None:
    code = "import sys; sys.modules['claude_agent_sdk'] = None; import claude_mpm.sdk"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "ImportError: claude_mpm.sdk needs the official SDK; install it: "
        "pip install claude-agent-sdk"
    )
