"""The command line and the environment that Claude is started with."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from claude_mpm.trust import commands_of, is_trusted
from claude_mpm.wire import WIRES, PlainLines, Transcript, Wire

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from claude_mpm.environments.base import Environment
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.orchestration.options import Options

_LONGEST_ARGUMENT = 128 << 10  # bytes in one argument, on Linux
_logger = logging.getLogger("claude_mpm.launch")


def claude_arguments(
    options: Options,
    folder: SessionFolder,
    claude_session_id: str,
    *,
    resumed: bool,
    untrusted: bool = False,
) -> list[str]:
    """Return the arguments of `claude` for a session.

    The framework goes by file, because an argument must not be longer than 128 KiB and can be
    read by everyone on the machine.

    Args:
        resumed: whether the conversation is there already.
        untrusted: whether the settings of the project folder would run commands, and must not.
    """
    if options.wire == PlainLines.name:
        return list(options.claude_args)
    if options.wire == Transcript.name:
        return _native_arguments(options, folder)
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
    if untrusted:
        arguments += ["--setting-sources", "user"]
    return arguments + _asked_for(options) + list(options.claude_args)


def _native_arguments(options: Options, folder: SessionFolder) -> list[str]:
    """Return the arguments of Claude's native interface; its host adds which conversation it is."""
    arguments = []
    if folder.framework.exists():
        arguments += ["--append-system-prompt-file", str(folder.framework)]
    if folder.agents.exists():  # a file, as for `claude -p`, is not taken here
        agents = folder.agents.read_text("utf-8")
        if len(agents.encode()) < _LONGEST_ARGUMENT:
            arguments += ["--agents", agents]
        else:
            _logger.warning("the agents are left out: a terminal takes %d bytes", _LONGEST_ARGUMENT)
    for name in ("max_turns", "max_budget_usd"):
        if getattr(options, name) is not None:
            _logger.warning("%s has no effect on a terminal", name)
    return arguments + _permitted(options) + list(options.claude_args)


def _permitted(options: Options) -> list[str]:
    arguments = [f"--allowedTools={rule}" for rule in options.allowed_tools]
    arguments += [f"--disallowedTools={rule}" for rule in options.disallowed_tools]
    given = {"--model": options.model, "--permission-mode": options.permission_mode}
    return arguments + _flags(given)


def _flags(given: Mapping[str, object]) -> list[str]:
    return [
        word for flag, value in given.items() if value is not None for word in (flag, str(value))
    ]


def _asked_for(options: Options) -> list[str]:
    limits = {"--max-turns": options.max_turns, "--max-budget-usd": options.max_budget_usd}
    arguments = _permitted(options) + _flags(limits)
    if options.permissions != "deny":
        arguments += ["--permission-prompt-tool", "stdio"]
    if options.partial:
        arguments.append("--include-partial-messages")
    return arguments


def claude_environment(options: Options, environment: Environment) -> dict[str, str]:
    """Return what Claude's environment gets from here."""
    environ = environment.environ(options.environ)
    environ["CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS"] = "1"
    # Else Claude keeps back what subagents say that it waits for, and with it their tickets. A
    # release that does not know it passes it over; at `--forward-subagent-text` it would end.
    environ["CLAUDE_CODE_FORWARD_SUBAGENT_TEXT"] = "1"
    environ.setdefault("DISABLE_AUTOUPDATER", "1")
    if not options.background:
        environ["CLAUDE_CODE_DISABLE_BACKGROUND_TASKS"] = "1"
    return environ


def is_untrusted(options: Options, cwd: str) -> bool:
    """Tell whether a project's settings would run commands that the user has not trusted.

    `claude -p` runs the hooks of every folder; it asks for trust on a terminal only.
    """
    if "--setting-sources" in options.claude_args:
        return False
    folder = Path(cwd)
    return bool(cwd and commands_of(folder)) and not is_trusted(folder, options.environ)


def asks_for_value(claude_args: Sequence[str]) -> bool:
    """Return whether Claude is given a JSON schema that its answer is to follow."""
    return any(each.partition("=")[0] == "--json-schema" for each in claude_args)


def wire_of(command: object) -> Wire:
    """Tell which wire a command speaks that a subclass started, from its arguments."""
    words = command.split() if isinstance(command, str) else command
    if isinstance(words, list | tuple) and "stream-json" in " ".join(map(str, words)):
        return WIRES["stream-json"]
    return WIRES["plain-text"]
