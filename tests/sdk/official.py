"""What the tests of the SDK's adapter share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, ResultMessage

from claude_mpm.sdk import PlaceTransport
from claude_mpm.sessions.store import Store
from claude_mpm.testing.residue import Remains
from claude_mpm.testing.subject import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.testing import Request, ScriptedModel

    Talk = Callable[[ClaudeSDKClient], Awaitable[None]]

SECONDS = 100.0  # for a whole conversation


class Official:
    """Makes transports of the real Claude Code with the scripted model, and talks over them."""

    def __init__(self, model: ScriptedModel, home: Path, claude_path: str) -> None:
        self.environ = model.environment(home)
        self._claude_path = claude_path

    def options(self, **options: Any) -> ClaudeAgentOptions:
        return ClaudeAgentOptions(**{"cli_path": self._claude_path, **options})

    def transport(
        self, options: ClaudeAgentOptions | None = None, **settings: Any
    ) -> PlaceTransport:
        settings = {"environ": self.environ, **settings}
        return PlaceTransport(options or self.options(), **settings)

    def talk(
        self,
        talk: Talk,
        options: ClaudeAgentOptions | None = None,
        transport: PlaceTransport | None = None,
    ) -> PlaceTransport:
        """Hold a conversation with the SDK's client; return the transport, which is closed."""
        options = options or self.options()
        transport = transport or self.transport(options)

        async def hold() -> None:
            async with ClaudeSDKClient(options, transport=transport) as client:
                await talk(client)

        asyncio.run(asyncio.wait_for(hold(), SECONDS))
        return transport


async def ask(client: ClaudeSDKClient, prompt: str) -> ResultMessage:
    """Give Claude a prompt and return the result."""
    await client.query(prompt)
    return await answer(client)


async def answer(client: ClaudeSDKClient) -> ResultMessage:
    """Return the result of the turn that runs."""
    messages = [message async for message in client.receive_response()]
    assert isinstance(messages[-1], ResultMessage)
    return messages[-1]


def folder_of(transport: PlaceTransport) -> SessionFolder:
    """Return the session's folder, in the default state folder."""
    return Store().folder(transport.session_id)


def printed(request: Request) -> str:
    """Say what the last tool said."""
    return "It printed: " + request.tool_results[-1].text


def nothing_is_left(transport: PlaceTransport) -> None:
    """Wait until there is nothing of the session but its record."""
    remains = Remains(folder_of(transport))
    until(lambda: not remains.found(), "something of the session is left")
