"""`claude-mpm acp`: sessions for an editor that speaks the Agent Client Protocol."""

from __future__ import annotations

import asyncio

import click

from claude_mpm.cli.app import App
from claude_mpm.cli.options import common_options
from claude_mpm.errors import SettingsError


@click.command()
@common_options
@click.pass_context
def acp(context: click.Context) -> None:
    """Serve sessions to an editor on standard input and output, by the Agent Client Protocol.

    The editor starts it. Claude runs where the settings and flags say, and a conversation outlives
    the editor: it is in the record, and can be loaded again.
    """
    try:
        from claude_mpm.cli.acp_agent import serve
    except ImportError as error:
        raise SettingsError(
            "the package agent-client-protocol is missing; install the extra `acp` of this program,"
            " or pip install agent-client-protocol"
        ) from error
    asyncio.run(serve(context.ensure_object(App)))
