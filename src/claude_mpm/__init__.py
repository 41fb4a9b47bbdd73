"""claude-mpm runs Claude Code anywhere, behind one class, and loses nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claude_mpm.conversation.question import Question
    from claude_mpm.conversation.turn import Turn
    from claude_mpm.conversation.verdict import Outcome, Verdict
    from claude_mpm.errors import MPMError
    from claude_mpm.orchestration.factory import create_orchestrator, register_orchestrator
    from claude_mpm.orchestration.orchestrator import MPMOrchestrator
    from claude_mpm.records import Delegation, Ticket
    from claude_mpm.wire.events import Event

__version__ = "0.1.0"

# Where each public name lives; it is imported when it is first used, so that `import claude_mpm`
# costs next to nothing.
_HOMES = {
    "Delegation": "claude_mpm.records",
    "Event": "claude_mpm.wire.events",
    "MPMError": "claude_mpm.errors",
    "MPMOrchestrator": "claude_mpm.orchestration.orchestrator",
    "Outcome": "claude_mpm.conversation.verdict",
    "Question": "claude_mpm.conversation.question",
    "Ticket": "claude_mpm.records",
    "Turn": "claude_mpm.conversation.turn",
    "Verdict": "claude_mpm.conversation.verdict",
    "create_orchestrator": "claude_mpm.orchestration.factory",
    "register_orchestrator": "claude_mpm.orchestration.factory",
}

__all__ = [
    "Delegation",
    "Event",
    "MPMError",
    "MPMOrchestrator",
    "Outcome",
    "Question",
    "Ticket",
    "Turn",
    "Verdict",
    "__version__",
    "create_orchestrator",
    "register_orchestrator",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'claude_mpm' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
