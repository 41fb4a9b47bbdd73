"""The command line and the environment that Claude is started with."""

from __future__ import annotations

import logging
import shlex
from typing import TYPE_CHECKING

from claude_mpm.capabilities.facts import ASSUMED
from claude_mpm.config.trust import Act, real, untrusted_acts
from claude_mpm.engine.native_agents import lay_agents
from claude_mpm.engine.options import without_conversation
from claude_mpm.environments.order import Order
from claude_mpm.printable import exact_line
from claude_mpm.wire import WIRES, PlainLines, Transcript, Wire

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from claude_mpm.capabilities.facts import Capabilities
    from claude_mpm.engine.options import Options
    from claude_mpm.environments.base import Environment
    from claude_mpm.journal.layout import Meta, SessionFolder

_NAMED = 4  # how much of what is left out is named one by one
_logger = logging.getLogger("claude_mpm.launch")


def claude_arguments(
    options: Options,
    folder: SessionFolder,
    claude_session_id: str,
    *,
    resumed: bool,
    untrusted: bool = False,
    build: Capabilities = ASSUMED,
) -> list[str]:
    """Return the arguments of `claude` for a session.

    The framework goes by file, because an argument must not be longer than 128 KiB and can be
    read by everyone on the machine.

    Args:
        resumed: whether the conversation is there already.
        untrusted: whether Claude would act on what the project folder has, and must not.
        build: what this Claude can do.
    """
    if options.wire == PlainLines.name:
        return list(options.claude_args)
    if options.wire == Transcript.name:
        return _native_arguments(options, folder)
    arguments = ["-p", "--verbose"]
    arguments += ["--input-format", "stream-json", "--output-format", "stream-json"]
    further = list(options.claude_args)
    if resumed:
        further = without_conversation(further, forks=True)
        arguments += [f"--resume={claude_session_id}", *framework_arguments(build)]
    else:
        arguments += ["--session-id", claude_session_id]
    if folder.framework.exists():
        arguments += ["--append-system-prompt-file", str(folder.framework)]
    if folder.agents.exists() and build.can("agents_by_file"):
        arguments += ["--agents", str(folder.agents)]
    if untrusted:
        arguments += ["--setting-sources", "user"]
    return arguments + _asked_for(options, build) + further


def framework_arguments(build: Capabilities) -> list[str]:
    """Return the arguments with which a resumed conversation has the framework as it is now.

    Claude keeps the first framework of a conversation unless an option says otherwise; a build
    without that option does not keep it.
    """
    return ["--system-prompt-snapshot", "off"] if build.can("prompt_snapshot") else []


def _native_arguments(options: Options, folder: SessionFolder) -> list[str]:
    """Return the arguments of Claude's native interface; its host adds which conversation it is."""
    arguments = []
    if folder.framework.exists():
        arguments += ["--append-system-prompt-file", str(folder.framework)]
    if folder.agents.exists():
        arguments += ["--plugin-dir", str(lay_agents(folder))]
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


def _asked_for(options: Options, build: Capabilities) -> list[str]:
    limits = {"--max-turns": options.max_turns, "--max-budget-usd": options.max_budget_usd}
    arguments = _permitted(options) + _flags(limits)
    decided = any(word.startswith("--permission-prompt") for word in options.claude_args)
    if options.permissions != "deny":
        arguments += ["--permission-prompt-tool", "stdio"]
    elif build.can("permission_prompts") and not decided:
        arguments += ["--permission-prompts", "none"]
    if options.partial:
        arguments.append("--include-partial-messages")
    return arguments


def claude_environment(
    options: Options, environment: Environment, *, scheduled: bool = False
) -> dict[str, str]:
    """Return what Claude's environment gets from here.

    Args:
        scheduled: whether an untrusted project has tasks that would begin turns by themselves; no
            choice of settings keeps Claude Code 2.1.330 from them.
    """
    environ = environment.environ(options.environ)
    environ["CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS"] = "1"
    # Else Claude keeps back what subagents say that it waits for, and with it their tickets. A
    # release that does not know it passes it over; at `--forward-subagent-text` it would end.
    environ["CLAUDE_CODE_FORWARD_SUBAGENT_TEXT"] = "1"
    environ.setdefault("DISABLE_AUTOUPDATER", "1")
    if not options.background:
        environ["CLAUDE_CODE_DISABLE_BACKGROUND_TASKS"] = "1"
    if scheduled:
        environ["CLAUDE_CODE_DISABLE_CRON"] = "1"
    return environ


def order_of(
    options: Options,
    folder: SessionFolder,
    claude: str,
    arguments: Sequence[str],
    cwd: str,
    environ: Mapping[str, str],
    build: Capabilities,
) -> Order:
    """Return what a place is asked to start; see `Order`."""
    return Order(
        folder=folder,
        claude=claude,
        arguments=tuple(arguments),
        cwd=cwd,
        environ=environ,
        linger=options.linger,
        linger_limit=options.linger_limit,
        first_event_timeout=options.first_event_timeout,
        resuming=tuple(framework_arguments(build)),
    )


def left_out(options: Options, environment: Environment, cwd: str) -> list[Act]:
    """Return what of the project folder is kept from Claude, because nobody has trusted it.

    `claude -p` runs the hooks of every folder; it asks for trust on a terminal only. Where a place
    has files of its own, nothing of this machine decides. Who names the sources of settings among
    Claude's arguments has decided already.
    """
    chosen = any(word.partition("=")[0] == "--setting-sources" for word in options.claude_args)
    folder = environment.folder_here(cwd)
    if chosen or folder is None or options.wire in (PlainLines.name, Transcript.name):
        return []
    return untrusted_acts(folder, options.environ)


def describe_left_out(acts: Sequence[Act], folder: Path) -> str:
    """Return in one line what is left out of a project, and how it is let in."""
    named = [act.seen_from(real(folder)) for act in acts]
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    needed = {act.folder for act in acts}
    highest = sorted(each for each in needed if needed.isdisjoint(each.parents))
    mend = " && ".join(f"claude-mpm trust {shlex.quote(exact_line(str(each)))}" for each in highest)
    return (
        f"{', '.join(named[:_NAMED])}{more}: left out with the project's other settings and its"
        f" CLAUDE.md, as the folder is not trusted; to let them in: {mend}"
    )


def asks_for_value(claude_args: Sequence[str]) -> bool:
    """Return whether Claude is given a JSON schema that its answer is to follow."""
    return any(each.partition("=")[0] == "--json-schema" for each in claude_args)


def asked_for_value(meta: Meta) -> bool:
    """Return the same of a session, by its record."""
    return asks_for_value(meta.options.get("claude_args", ()))


def wire_of(command: object) -> Wire:
    """Return the wire that a command speaks which a subclass started, by its arguments."""
    words = command.split() if isinstance(command, str) else command
    if isinstance(words, list | tuple) and "stream-json" in " ".join(map(str, words)):
        return WIRES["stream-json"]
    return WIRES["plain-text"]
