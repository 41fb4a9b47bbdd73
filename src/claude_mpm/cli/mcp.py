"""`claude-mpm mcp`: sessions as tools for another Claude, or for any other MCP client."""

from __future__ import annotations

import functools
import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from claude_mpm.cli.app import App, json_text
from claude_mpm.cli.end_signals import ends_in_order
from claude_mpm.cli.mcp_tools import LONGEST_CALL, Profile, Rights, SessionTools
from claude_mpm.cli.options import common_options
from claude_mpm.errors import MPMError, SettingsError, UsageError
from claude_mpm.fleet.places import Place, find_place
from claude_mpm.folders import check_secret
from claude_mpm.orchestration.factory import find_orchestrator, load_plugins

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mcp.server.mcpserver import MCPServer

    from claude_mpm.cli.mcp_http import HttpTransport
    from claude_mpm.cli.mcp_stdio import StdioTransport

_URI = "claude-mpm://sessions/"
_JSON = "application/json"
_LEAST_TOKEN = 16  # characters
_GUIDE = (
    "Starts and steers Claude Code sessions. start returns at once; wait (45 s at most) returns the"
    " answer when it is there: call it again while done is false. A session may wait with a"
    " permission request: questions lists them, answer answers."
)


@click.command("mcp")
@click.option(
    "--rights",
    type=click.Choice([right.value for right in Rights]),
    default="own",
    show_default=True,
    help="Only read; also start sessions, and see and steer these; or see and steer all.",
)
@click.option(
    "--place",
    "places",
    multiple=True,
    metavar="NAME",
    help="A place of the settings, or an orchestrator, where clients may start sessions; again for"
    " more.",
)
@click.option(
    "--root",
    "roots",
    multiple=True,
    metavar="DIR",
    help="A folder below which Claude may work; again for more. The current one.",
)
@click.option(
    "--name",
    default="mcp",
    show_default=True,
    metavar="NAME",
    help="Whose sessions these are; another server with this name sees them, too.",
)
@click.option(
    "--http",
    "port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Listen on this port of 127.0.0.1 instead of standard input; 0 for any.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What clients must send with --http, as Authorization: Bearer; readable by you alone.",
)
@common_options
@click.pass_context
def mcp(
    context: click.Context,
    rights: str,
    places: tuple[str, ...],
    roots: tuple[str, ...],
    name: str,
    port: int | None,
    token_file: Path | None,
) -> None:
    """Serve sessions to an MCP client, such as another Claude, on standard input and output.

    The client chooses prompts, and among the places and folders that are named here. It cannot
    choose options: sessions are started as the settings and the flags say. When the client has
    gone, what it started goes on for its linger time and then ends.
    """  # fmt: skip
    app = context.ensure_object(App)
    load_plugins(app.settings.plugins)
    profile = Profile(Rights(rights), _offered(app, places), _folders(roots), name)
    if (port is None) != (token_file is None):
        raise UsageError("--http and --token-file go together: without a token anybody could call")
    token = _read_token(token_file) if token_file is not None else ""
    tools = SessionTools(app, profile)
    transport = _transport(make_server(tools), port, token)

    def end() -> None:
        tools.end_waits()
        transport.end()

    with ends_in_order(end), closing(tools):
        transport.run()


def _transport(
    server: MCPServer[Any], port: int | None, token: str
) -> StdioTransport | HttpTransport:
    if port is None:
        from claude_mpm.cli.mcp_stdio import StdioTransport

        return StdioTransport(server)
    from claude_mpm.cli.mcp_http import HttpTransport

    return HttpTransport(server, port, token)


def make_server(tools: SessionTools) -> MCPServer[Any]:
    """Return the MCP server of the tools.

    Raises:
        SettingsError: the package `mcp` is not installed.
    """
    try:
        from mcp.server.mcpserver import MCPServer
        from mcp.server.mcpserver.exceptions import ToolError
        from mcp.types import Resource
    except ImportError as error:
        raise SettingsError(
            "the package mcp is missing; install the extra `mcp` of this program,"
            " or pip install 'mcp>=2'"
        ) from error

    class Server(MCPServer[Any]):
        async def list_resources(self) -> list[Resource]:
            """List the sessions that the client may see."""
            rows = (await _in_thread(tools.sessions, ended=True))["sessions"]
            return [
                Resource(uri=_URI + row["session"], name=row["session"], mime_type=_JSON)
                for row in rows
            ]

    guide = f"{_GUIDE} Places for start: {', '.join(tools.places)}; the first is the default."
    server = Server("claude-mpm", instructions=guide, log_level="ERROR")
    for tool in (
        tools.start, tools.send, tools.wait, tools.read, tools.questions, tools.answer,
        tools.stop, tools.tickets,
    ):  # fmt: skip
        server.add_tool(as_tool(tool, ToolError))
    server.add_tool(as_tool(tools.sessions, ToolError), name="list")

    @server.resource(_URI + "{session}", name="session", mime_type=_JSON)
    async def session_record(session: str) -> str:
        """All that is known of a session."""
        return json_text(await _in_thread(tools.record, session))

    return server


def as_tool(
    tool: Callable[..., dict[str, Any]], error_class: type[Exception]
) -> Callable[..., Awaitable[dict[str, Any]]]:
    """Return a tool as a coroutine that ends in time, and whose errors are text for the client."""

    @functools.wraps(tool)
    async def call(*args: Any, **arguments: Any) -> dict[str, Any]:
        try:
            result: dict[str, Any] = await _in_thread(tool, *args, **arguments)
            return result
        except TimeoutError as error:  # it is an OSError, so it comes first
            raise error_class(
                f"{tool.__name__} has not ended within {LONGEST_CALL:.0f} s; it goes on: see list"
            ) from error
        except (MPMError, OSError) as error:
            raise error_class(str(error)) from error

    return call


async def _in_thread(work: Callable[..., Any], *args: Any, **arguments: Any) -> Any:
    """Do work in a thread; a call that takes too long is left to end on its own.

    Raises:
        TimeoutError: it did not end in time.
    """
    import anyio

    with anyio.fail_after(LONGEST_CALL + 5):
        return await anyio.to_thread.run_sync(
            functools.partial(work, *args, **arguments), abandon_on_cancel=True
        )


def _offered(app: App, names: tuple[str, ...]) -> tuple[Place, ...]:
    """Return the places that are offered: those that are named, or the one of the settings."""
    if names:
        return tuple(find_place(name, app.settings.places) for name in names)
    configured = app.settings.orchestrator
    return (Place(name=configured, orchestrator=find_orchestrator(configured).name),)


def _folders(names: tuple[str, ...]) -> tuple[Path, ...]:
    folders = tuple(Path(os.path.realpath(name)) for name in names or (os.curdir,))
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"--root {folder} is no folder")
    return folders


def _read_token(file: Path) -> str:
    try:
        with file.open() as opened:
            check_secret(file, os.fstat(opened.fileno()))
            token = opened.read().strip()
    except OSError as error:
        raise UsageError(f"--token-file {file}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--token-file {file}: it is not UTF-8; save it as UTF-8") from error
    if len(token) < _LEAST_TOKEN:
        raise UsageError(f"--token-file {file}: a token has at least {_LEAST_TOKEN} characters")
    return token
