"""What the targets begin with: lines as Claude Code writes them, one of each kind."""

from __future__ import annotations

import json
from typing import Any


def _lines(*messages: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


_USE = {"type": "tool_use", "id": "t1", "name": "Task",
        "input": {"subagent_type": "qa", "description": "d", "prompt": "p"}}  # fmt: skip
_RESULT = {"type": "tool_result", "tool_use_id": "t1", "is_error": False,
           "content": [{"type": "text", "text": "done"}]}  # fmt: skip
_CALL = {"type": "assistant", "message": {"content": [_USE], "id": "m1", "model": "m"},
         "timestamp": "2026-01-01T00:00:00Z", "uuid": "u9"}  # fmt: skip
_SAID = {"type": "assistant", "uuid": "u3", "message": {"id": "m2", "usage": {"input_tokens": 3},
         "content": [{"type": "text", "text": "TODO: write tests\nBUG: it fails"}]}}  # fmt: skip
_DONE = {"type": "user", "timestamp": "2026-01-01T00:00:09Z", "message": {"content": [_RESULT]}}
_ASKED = {"type": "control_request", "request_id": "r1",
          "request": {"subtype": "can_use_tool", "tool_name": "Bash", "input": {},
                      "tool_use_id": "t1"}}  # fmt: skip
_END = {"type": "result", "subtype": "success", "is_error": False, "result": "ok",
        "total_cost_usd": 0.5, "num_turns": 2, "duration_ms": 100, "usage": {"input_tokens": 1},
        "user_message_uuid": "u1", "origin": {"kind": "task"}, "permission_denials": [],
        "api_error_status": 429, "errors": ["e"]}  # fmt: skip

STREAM_JSON = (
    _lines(
        {"type": "system", "subtype": "init", "session_id": "s", "tools": ["Bash"]},
        {"type": "command_lifecycle", "command_uuid": "u1", "state": "queued"},
        {"type": "command_lifecycle", "command_uuid": "u1", "state": "started"},
        _CALL,
        {
            "type": "system",
            "subtype": "task_started",
            "tool_use_id": "t1",
            "is_backgrounded": True,
            "subagent_type": "qa",
        },
        {
            "type": "system",
            "subtype": "task_notification",
            "tool_use_id": "t1",
            "status": "completed",
            "summary": "s",
            "usage": {"duration_ms": 5},
        },
        _SAID,
        _END,
    ),
    _lines(_CALL, _DONE, _ASKED, {"type": "control_cancel_request", "request_id": "r1"}, _END),
    _lines(_END) + _lines(_END).strip() + _lines({"type": "rate_limit_event", "x": 1}) + b"no json",
    _lines(
        {"type": "stream_event", "event": {"type": "message_start"}},
        {"type": "stream_event", "event": {"delta": {"type": "text_delta", "text": "a\nb"}}},
        {"type": "system", "subtype": "session_state_changed", "state": "idle"},
        {"type": "control_response", "response": {"request_id": "i1", "subtype": "success"}},
    ),
)
TRANSCRIPT = (
    _lines(
        {"type": "user", "uuid": "u1", "promptSource": "typed", "message": {"content": "hello"}},
        _CALL,
        _SAID,
        {
            "type": "system",
            "subtype": "turn_duration",
            "durationMs": 5,
            "pendingBackgroundAgentCount": 2,
        },
        {"type": "cost-state", "sessionId": "s", "totalCostUSD": 0.25},
    ),
    _lines(
        {"type": "command_lifecycle", "command_uuid": "u1", "state": "started"},
        {"type": "command_lifecycle", "command_uuid": "u2", "state": "refused"},
        {
            "type": "queue-operation",
            "operation": "x",
            "reason": "absorbed_mid_turn",
            "content": "<tool-use-id>t1</tool-use-id><status>completed</status>"
            "<duration_ms>5</duration_ms><result>r</result>",
        },
        {"type": "system", "subtype": "host_state", "state": "idle"},
        {"type": "system", "subtype": "local_command"},
    ),
    _lines(
        {"type": "user", "uuid": "u1", "promptSource": "typed", "message": {"content": "hello"}},
        _CALL,
        {
            "type": "queue-operation",
            "content": "<tool-use-id>t1</tool-use-id>"
            "<status>failed</status><duration_ms>77</duration_ms>",
        },
        {**_SAID, "isSidechain": True, "agentId": "a", "attributionAgent": "qa"},
        {**_SAID, "isApiErrorMessage": True, "apiErrorStatus": 500},
        {"type": "user", "message": {"content": "[Request interrupted by user"}},
    ),
)
PLAIN_TEXT = (
    b"TODO: write tests\n- more\nI will delegate this to qa: test it\n",
    b"BUG: it fails\r\n\r\n```\nTODO: code\n```\n**FEATURE:** a thing [high] #tag\nend",
    "Delegating to **research**: look\u2028into it\n\xe4\n".encode(),
)
JSON_TOKENS = (b'"type":', b'"subtype":', b'"result"', b"1e999", b"NaN", b"-0", b"[[[[", b"\\ud800")
