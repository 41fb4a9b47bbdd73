"""Test doubles and checks for those who write an orchestrator.

`ScriptedModel` answers the real Claude Code from a script, with no key and no network;
`check_environment` and `check_orchestrator` hold a place to the list of contracts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claude_mpm.testing.check import (
        Contract,
        Report,
        Result,
        check_environment,
        check_orchestrator,
        contracts,
    )
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

# Where each name lives; it is imported when it is first used, because every run of pytest imports
# the plugin beside it, whatever is tested.
_HOMES = {
    "Call": "claude_mpm.testing.script",
    "Contract": "claude_mpm.testing.check",
    "Cut": "claude_mpm.testing.script",
    "Delegate": "claude_mpm.testing.script",
    "Fail": "claude_mpm.testing.script",
    "Item": "claude_mpm.testing.script",
    "Report": "claude_mpm.testing.check",
    "Request": "claude_mpm.testing.request",
    "Result": "claude_mpm.testing.check",
    "Say": "claude_mpm.testing.script",
    "Script": "claude_mpm.testing.script",
    "ScriptedModel": "claude_mpm.testing.scripted_model",
    "Stall": "claude_mpm.testing.script",
    "Stop": "claude_mpm.testing.script",
    "Then": "claude_mpm.testing.script",
    "Think": "claude_mpm.testing.script",
    "ToolResult": "claude_mpm.testing.request",
    "Usage": "claude_mpm.testing.script",
    "check_environment": "claude_mpm.testing.check",
    "check_orchestrator": "claude_mpm.testing.check",
    "contracts": "claude_mpm.testing.check",
    "echo": "claude_mpm.testing.playbook",
}

__all__ = [
    "Call",
    "Contract",
    "Cut",
    "Delegate",
    "Fail",
    "Item",
    "Report",
    "Request",
    "Result",
    "Say",
    "Script",
    "ScriptedModel",
    "Stall",
    "Stop",
    "Then",
    "Think",
    "ToolResult",
    "Usage",
    "check_environment",
    "check_orchestrator",
    "contracts",
    "echo",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'claude_mpm.testing' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
