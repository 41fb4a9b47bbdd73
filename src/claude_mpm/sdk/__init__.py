"""For users of the official SDK: its client over any place. Needs the extra `claude`."""

from __future__ import annotations

try:
    import claude_agent_sdk  # noqa: F401 -- looked for first, so that one line says what is missing
except ModuleNotFoundError as error:
    if error.name != "claude_agent_sdk":
        raise
    raise ImportError(
        "claude_mpm.sdk needs the official SDK; install it: pip install claude-agent-sdk",
        name=error.name,
    ) from error

from claude_mpm.sdk.transport import PlaceTransport

__all__ = ["PlaceTransport"]
