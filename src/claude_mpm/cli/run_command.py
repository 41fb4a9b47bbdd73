"""`claude-mpm run`, as click has it."""

from __future__ import annotations

import click

from claude_mpm.cli.app import App
from claude_mpm.cli.options import as_command, common_options
from claude_mpm.cli.run import run_given


@click.command()
@click.argument("prompt", required=False)
@click.option("-i", "--input", "text", metavar="PROMPT", help="The prompt.")
@click.option("--session", metavar="ID", help="Name the session.")
@click.option(
    "--detach", is_flag=True, help="Print the session's id and leave Claude running until `stop`."
)
@as_command
@common_options
@click.pass_context
def run(
    context: click.Context,
    prompt: str | None,
    text: str | None,
    session: str | None,
    detach: bool,
    command: bool,
) -> None:
    """Give Claude one PROMPT; "-" reads it from standard input.

    The answer goes to standard output, everything else to standard error. The model gets the prompt
    as it is, unless --as-command is given.
    """
    app = context.ensure_object(App)
    context.exit(run_given(app, prompt, text, session, detach=detach, command=command))
