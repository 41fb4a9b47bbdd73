"""A session as Claude Code writes it: the same kinds and sizes of lines, as many as are wanted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

SESSION = "11111111-2222-4333-8444-555555555555"
_CALLS = 8  # tool calls of one turn
_TOOLS = [
    "Agent",
    "Bash",
    "Edit",
    "Glob",
    "Grep",
    "Read",
    "Skill",
    "TodoWrite",
    "WebFetch",
    "Write",
]
_SAID = (
    "I looked at the module that reads the journal and at the tests beside it. The cursor is kept"
    " in one transaction with what was found: a crash leaves both where they were.\n"
)
_REPORT = (
    f"{_SAID}\n- `session.py` counts what is new: nothing is kept twice\n"
    "- the framing joins the pieces of a long line once\n\nThe tests pass. What is left:\n\n"
)
_OUTPUT = "".join(
    f"src/package/module_{n}.py:{n * 7}:    value = compute(value, key={n})\n" for n in range(20)
)


def turn(number: int) -> list[dict[str, Any]]:
    """Return the events of one turn: 25 lines, of 1.5 kB on average."""
    prompt = f"00000000-0000-4000-8000-{number:012}"
    events: list[dict[str, Any]] = [
        {"type": "command_lifecycle", "command_uuid": prompt, "state": "started", "uuid": prompt},
        _system("session_state_changed", state="running"),
        _system("init", **_init()),
    ]
    for call in range(_CALLS):
        name = f"toolu_{number:08}{call:04}"
        command = {"command": f"grep -n compute src/package/module_{call}.py", "timeout": 120000}
        if call % 2:
            events.append(_assistant({"type": "text", "text": _SAID}))
        events += [
            _assistant({"type": "tool_use", "id": name, "name": "Bash", "input": command}),
            _user({"type": "tool_result", "tool_use_id": name, "content": _OUTPUT}),
        ]
    ticket = "" if number % 5 else f"TODO: check module {number}\n"
    events.append(_assistant({"type": "text", "text": _REPORT + ticket}))
    events += [_result(number, prompt), _system("session_state_changed", state="idle")]
    for line, event in enumerate(events):  # what has the same identity counts once
        event["uuid"] = f"{number:08}-{line:04}-4000-8000-000000000000"
        if event["type"] == "assistant":
            event["message"]["id"] = f"msg_{number:08}{line:04}"
    return events


def write(path: Path, size: int) -> int:
    """Write at least `size` bytes of whole turns; return the number of lines."""
    written = lines = number = 0
    with path.open("wb") as file:
        while written < size:
            block = b"".join(json.dumps(event).encode() + b"\n" for event in turn(number))
            written += file.write(block)
            lines += block.count(b"\n")
            number += 1
    return lines


def _system(subtype: str, **fields: Any) -> dict[str, Any]:
    return {"type": "system", "subtype": subtype, **fields, "session_id": SESSION, "uuid": SESSION}


def _init() -> dict[str, Any]:
    return {
        "cwd": "/home/user/project",
        "tools": _TOOLS * 3,
        "mcp_servers": [],
        "model": "claude-model-1",
        "permissionMode": "default",
        "slash_commands": [f"command-{n}" for n in range(40)],
        "apiKeySource": "ANTHROPIC_API_KEY",
        "claude_code_version": "2.1.330",
        "output_style": "default",
        "agents": ["claude", "Explore", "general-purpose", "Plan", "statusline-setup"],
        "skills": [f"skill-{n}" for n in range(12)],
        "plugins": [],
    }


def _assistant(block: dict[str, Any]) -> dict[str, Any]:
    message = {
        "model": "claude-model-1",
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "content": [block],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 3,
            "cache_creation_input_tokens": 120,
            "cache_read_input_tokens": 16042,
            "cache_creation": {"ephemeral_5m_input_tokens": 120, "ephemeral_1h_input_tokens": 0},
            "output_tokens": 81,
            "service_tier": "standard",
        },
    }
    return _said("assistant", message)


def _user(block: dict[str, Any]) -> dict[str, Any]:
    return {
        **_said("user", {"role": "user", "content": [block]}),
        "timestamp": "2026-01-01T00:00:00.000Z",
        "tool_use_result": {"stdout": block["content"], "stderr": "", "interrupted": False},
    }


def _said(kind: str, message: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": kind,
        "message": message,
        "parent_tool_use_id": None,
        "session_id": SESSION,
        "uuid": SESSION,
    }


def _result(number: int, prompt: str) -> dict[str, Any]:
    return {
        "type": "result",
        "subtype": "success",
        "is_error": False,
        "duration_ms": 1200,
        "duration_api_ms": 900,
        "num_turns": _CALLS + 1,
        "result": _REPORT,
        "stop_reason": "end_turn",
        "session_id": SESSION,
        "total_cost_usd": 0.01 * (number + 1),
        "usage": {"input_tokens": 30, "output_tokens": 700, "cache_read_input_tokens": 140000},
        "modelUsage": {"claude-model-1": {"inputTokens": 30, "outputTokens": 700}},
        "permission_denials": [],
        "user_message_uuids": [prompt],
        "uuid": SESSION,
    }
