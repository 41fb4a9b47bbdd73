"""Test doubles and checks for those who write an orchestrator.

`ScriptedModel` answers the real Claude Code from a script, with no key and no network.
"""

from __future__ import annotations

from claude_mpm.testing.playbook import echo
from claude_mpm.testing.request import Request, ToolResult
from claude_mpm.testing.script import (
    Call,
    Cut,
    Delegate,
    Fail,
    Item,
    Say,
    Script,
    Stall,
    Stop,
    Then,
    Think,
    Usage,
)
from claude_mpm.testing.scripted_model import ScriptedModel

__all__ = [
    "Call",
    "Cut",
    "Delegate",
    "Fail",
    "Item",
    "Request",
    "Say",
    "Script",
    "ScriptedModel",
    "Stall",
    "Stop",
    "Then",
    "Think",
    "ToolResult",
    "Usage",
    "echo",
]
