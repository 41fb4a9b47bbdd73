"""The command line and the environment that Claude is started with."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from claude_mpm.wire import WIRES, PlainLines, Wire

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.orchestration.options import Options

HOST_SCRIPT = os.path.join(os.path.dirname(os.path.dirname(__file__)), "journal", "host.sh")  # noqa: PTH118, PTH120
# What an outer Claude Code leaves in the environment of its children.
_OF_AN_OUTER_CLAUDE = (
    "CLAUDECODE",
    "CLAUDE_PID",
    "CLAUDE_CODE_SESSION_ID",
    "CLAUDE_CODE_CHILD_SESSION",
    "CLAUDE_CODE_ENTRYPOINT",
    "CLAUDE_CODE_SSE_PORT",
)


def claude_arguments(
    options: Options, folder: SessionFolder, claude_session_id: str, *, resumed: bool
) -> list[str]:
    """Return the arguments of `claude` for a session.

    The framework goes by file, because an argument must not be longer than 128 KiB and can be
    read by everyone on the machine.
    """
    if options.wire == PlainLines.name:
        return list(options.claude_args)
    arguments = ["-p", "--verbose"]
    arguments += ["--input-format", "stream-json", "--output-format", "stream-json"]
    if resumed:
        # Claude keeps the first framework of a conversation unless it is told not to.
        arguments += [f"--resume={claude_session_id}", "--system-prompt-snapshot", "off"]
    else:
        arguments += ["--session-id", claude_session_id]
    if folder.framework.exists():
        arguments += ["--append-system-prompt-file", str(folder.framework)]
    if folder.agents.exists():
        arguments += ["--agents", str(folder.agents)]
    return arguments + _asked_for(options) + list(options.claude_args)


def _asked_for(options: Options) -> list[str]:
    arguments: list[str] = []
    given = {
        "--model": options.model,
        "--permission-mode": options.permission_mode,
        "--max-turns": options.max_turns,
        "--max-budget-usd": options.max_budget_usd,
    }
    for flag, value in given.items():
        if value is not None:
            arguments += [flag, str(value)]
    if options.permissions != "deny":
        arguments += ["--permission-prompt-tool", "stdio"]
    if options.partial:
        arguments.append("--include-partial-messages")
    return arguments


def claude_environment(options: Options) -> dict[str, str]:
    """Return the whole environment of Claude."""
    given: Mapping[str, str] = os.environ if options.environ is None else options.environ
    environ = {name: value for name, value in given.items() if name not in _OF_AN_OUTER_CLAUDE}
    environ["CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS"] = "1"
    environ.setdefault("DISABLE_AUTOUPDATER", "1")
    if not options.background:
        environ["CLAUDE_CODE_DISABLE_BACKGROUND_TASKS"] = "1"
    return environ


def host_command(
    folder: SessionFolder, options: Options, claude: Path, arguments: Sequence[str]
) -> list[str]:
    """Return the command that starts the host, which starts Claude."""
    timing = [_seconds(options.linger), _seconds(options.linger_limit)]
    return ["sh", HOST_SCRIPT, str(folder.path), *timing, str(claude), *arguments]


def _seconds(value: float) -> str:
    """Return a number as every `sleep` reads it: no exponent, no needless fraction."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def wire_of(command: object) -> Wire:
    """Tell which wire a command speaks that a subclass started, from its arguments."""
    words = command.split() if isinstance(command, str) else command
    if isinstance(words, list | tuple) and "stream-json" in " ".join(map(str, words)):
        return WIRES["stream-json"]
    return WIRES["plain-text"]
