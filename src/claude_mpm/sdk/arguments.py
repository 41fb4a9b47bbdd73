"""What the SDK's options mean for a session; the SDK itself applies them to its own transport only.

The arguments are those that the SDK's own transport gives to `claude`, so an option means the same
in every place. What is not known here is refused: an option that does nothing is found too late.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any, cast

import claude_agent_sdk

from claude_mpm.errors import UsageError

if TYPE_CHECKING:
    from claude_agent_sdk import ClaudeAgentOptions

_SWITCHES = {
    "include_hook_events": "--include-hook-events",
    "strict_mcp_config": "--strict-mcp-config",
}
_VALUES = {
    "fallback_model": "--fallback-model",
    "permission_prompt_tool_name": "--permission-prompt-tool",
    "effort": "--effort",
}
# What becomes arguments or variables by a function of its own, below.
_TRANSLATED = {
    "add_dirs", "betas", "client_app", "enable_file_checkpointing", "env", "extra_args",
    "max_thinking_tokens", "mcp_servers", "output_format", "plugins", "sandbox", "setting_sources",
    "settings", "skills", "system_prompt", "task_budget", "thinking", "tools",
}  # fmt: skip
# What the session has an option for.
_OF_THE_SESSION = {
    "allowed_tools", "can_use_tool", "cli_path", "cwd", "disallowed_tools",
    "include_partial_messages", "max_budget_usd", "max_turns", "model", "permission_mode", "resume",
    "session_id", "stderr",
}  # fmt: skip
# What the SDK does by itself over any transport, and what tells how its own transport works.
_OF_THE_SDK = {
    "agents", "debug_stderr", "forward_subagent_text", "hooks", "load_timeout_ms",
    "max_buffer_size", "session_store_flush", "verbatim_prompts",
}  # fmt: skip
_KNOWN = _TRANSLATED | _OF_THE_SESSION | _OF_THE_SDK | {*_SWITCHES, *_VALUES}
_ONE_SESSION = "a session goes on where it ended: name it with session_id"
_REFUSED = {
    "continue_conversation": _ONE_SESSION,
    "fork_session": _ONE_SESSION,
    "resume_session_at": _ONE_SESSION,
    "resume_drops_turn": _ONE_SESSION,
    "session_store": "the SDK would look for the conversation here, and it is in its place",
    "user": "the place says who Claude is there",
}


def check(options: ClaudeAgentOptions) -> None:
    """Refuse what would have no effect.

    Raises:
        UsageError: an option that cannot be meant here, or that this release does not know.
    """
    default = type(options)()
    for field in dataclasses.fields(options):
        name = field.name
        if name in _KNOWN or getattr(options, name) == getattr(default, name):
            continue
        why = _REFUSED.get(name, "it is not known; give its argument in extra_args")
        raise UsageError(f"PlaceTransport takes no option {name!r} of the SDK: {why}")
    if options.can_use_tool and options.permission_prompt_tool_name:
        raise UsageError("can_use_tool and permission_prompt_tool_name: give one of the two")
    _settings(options)


def session_options(options: ClaudeAgentOptions) -> dict[str, Any]:
    """Return the options of the session that the SDK's options stand for."""
    return {
        "model": options.model,
        "permission_mode": options.permission_mode,
        "permissions": "ask" if options.can_use_tool else "deny",
        "allowed_tools": _allowed_tools(options),
        "disallowed_tools": options.disallowed_tools,
        "max_turns": options.max_turns or None,
        "max_budget_usd": options.max_budget_usd,
        "partial": options.include_partial_messages,
        "cwd": str(options.cwd) if options.cwd else None,
        "claude_path": str(options.cli_path) if options.cli_path else None,
        "claude_args": claude_arguments(options),
    }


def variables(options: ClaudeAgentOptions) -> dict[str, str]:
    """Return what the SDK's options add to Claude's environment."""
    found = dict(options.env)
    if options.enable_file_checkpointing:
        found["CLAUDE_CODE_ENABLE_SDK_FILE_CHECKPOINTING"] = "true"
    if options.client_app is not None:
        found["CLAUDE_AGENT_SDK_CLIENT_APP"] = options.client_app
    return {**found, "CLAUDE_AGENT_SDK_VERSION": claude_agent_sdk.__version__}


def system_prompt(options: ClaudeAgentOptions) -> dict[str, str]:
    """Return what the request `initialize` says of the system prompt.

    There it can have any length, and no process list shows it.
    """
    prompt = options.system_prompt
    if isinstance(prompt, str):
        return {"systemPrompt": prompt} if prompt else {}
    match cast("dict[str, Any]", prompt or {}):
        case {"type": "custom", "prompt": str(text)} if text:
            return {"systemPrompt": text}
        case {"type": "preset", "append": str(text)}:
            return {"appendSystemPrompt": text}
    return {}


def claude_arguments(options: ClaudeAgentOptions) -> list[str]:
    """Return the arguments of `claude` that no option of the session stands for."""
    arguments = _no_system_prompt(options) + _tools(options)
    arguments += [flag for name, flag in _SWITCHES.items() if getattr(options, name)]
    for name, flag in _VALUES.items():
        if value := getattr(options, name):
            arguments += [flag, str(value)]
    arguments += _settings(options) + _folders(options) + _mcp_servers(options)
    arguments += _thinking(options) + _output(options)
    for name, value in options.extra_args.items():
        arguments.append(f"--{name}" if value is None else f"--{name}={value}")
    return arguments


def _no_system_prompt(options: ClaudeAgentOptions) -> list[str]:
    match cast("Any", options.system_prompt):
        case {"type": "file", "path": path}:
            return ["--system-prompt-file", str(path)]
        case None | "" | {"type": "custom", "prompt": ""}:
            return ["--system-prompt", ""]
    return []


def _allowed_tools(options: ClaudeAgentOptions) -> list[str]:
    if options.skills is None:
        return options.allowed_tools
    every = options.skills == "all"
    skills = ["Skill"] if every else [f"Skill({name})" for name in options.skills]
    return [*options.allowed_tools, *(each for each in skills if each not in options.allowed_tools)]


def _tools(options: ClaudeAgentOptions) -> list[str]:
    arguments, sources = [], options.setting_sources
    if options.tools is not None:
        listed = isinstance(options.tools, list)
        arguments += ["--tools", ",".join(options.tools) if listed else "default"]
    if options.skills is not None and sources is None:  # where skills are found
        sources = ["user", "project"]
    return arguments if sources is None else [*arguments, f"--setting-sources={','.join(sources)}"]


def _settings(options: ClaudeAgentOptions) -> list[str]:
    if options.sandbox is None:
        return ["--settings", options.settings] if options.settings else []
    try:
        settings = json.loads(options.settings or "{}")
    except ValueError as error:
        raise UsageError("with sandbox, settings must be JSON: a file is in the place") from error
    return ["--settings", json.dumps({**settings, "sandbox": options.sandbox})]


def _folders(options: ClaudeAgentOptions) -> list[str]:
    arguments = ["--betas", ",".join(options.betas)] if options.betas else []
    for folder in options.add_dirs:
        arguments += ["--add-dir", str(folder)]
    for plugin in options.plugins:
        arguments += ["--plugin-dir", plugin["path"]]
    return arguments


def _mcp_servers(options: ClaudeAgentOptions) -> list[str]:
    servers = options.mcp_servers
    if not servers:
        return []
    if not isinstance(servers, dict):
        return ["--mcp-config", str(servers)]
    # An instance is a server in this process: Claude asks for it over the session's own lines.
    described = {
        name: {key: value for key, value in server.items() if key != "instance"}
        for name, server in servers.items()
    }
    return ["--mcp-config", json.dumps({"mcpServers": described})]


def _thinking(options: ClaudeAgentOptions) -> list[str]:
    thinking = cast("dict[str, Any] | None", options.thinking)
    if thinking is None:
        most = options.max_thinking_tokens
        return [] if most is None else ["--max-thinking-tokens", str(most)]
    if thinking["type"] == "enabled":
        arguments = ["--max-thinking-tokens", str(thinking["budget_tokens"])]
    else:
        arguments = ["--thinking", thinking["type"]]
    shown = thinking.get("display") if thinking["type"] != "disabled" else None
    return [*arguments, "--thinking-display", shown] if shown else arguments


def _output(options: ClaudeAgentOptions) -> list[str]:
    arguments = []
    if options.task_budget is not None:
        arguments += ["--task-budget", str(options.task_budget["total"])]
    form = options.output_format or {}
    if form.get("type") == "json_schema" and form.get("schema") is not None:
        arguments += ["--json-schema", json.dumps(form["schema"])]
    return arguments
