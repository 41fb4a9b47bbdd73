"""The command line as click has it: the commands, and what they share."""

from __future__ import annotations

import importlib
import sys

import click

from claude_mpm import __version__
from claude_mpm.cli.app import App
from claude_mpm.cli.options import common_options
from claude_mpm.cli.output import INTERRUPTED, is_plain
from claude_mpm.cli.streams import drop_output

# Command to module; a module is imported when its command is used.
_COMMANDS = {
    "run": "run_command",
    "ps": "sessions",
    "show": "sessions",
    "logs": "follow",
    "attach": "attach",
    "send": "send",
    "questions": "questions",
    "answer": "answer",
    "stop": "sessions",
    "wait": "follow",
    "resume": "resume",
    "move": "move",
    "tickets": "tickets",
    "delegations": "delegations",
    "orchestrators": "orchestrators",
    "places": "places",
    "batch": "batch",
    "docker": "docker",
    "serve": "serve",
    "web": "web",
    "mcp": "mcp",
    "acp": "acp",
    "export": "export_session",
    "adopt": "adopt",
    "trust": "trust",
    "doctor": "doctor",
    "demo": "demo",
    "completion": "completion",
}


class LazyGroup(click.Group):
    """Imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which the help shows them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command."""
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command = getattr(importlib.import_module(f"claude_mpm.cli.{module}"), cmd_name)
        assert isinstance(command, click.Command)
        return command


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="What stands after -- is given to claude as it is.",
)
@click.version_option(__version__, prog_name="claude-mpm")
@common_options
@click.pass_context
def cli(context: click.Context) -> None:
    """Run Claude Code anywhere, and lose nothing.

    Without a command: Claude's own interface on a terminal; with piped input, one prompt.
    """
    if context.invoked_subcommand is not None:
        return
    app = context.ensure_object(App)
    if sys.stdin.isatty():
        from claude_mpm.cli.chat import chat
        from claude_mpm.cli.native_screen import is_meant, open_screen

        context.exit(open_screen(app) if is_meant(app) else chat(app))
    from claude_mpm.cli.run import read_prompt, run_prompt

    context.exit(run_prompt(app, read_prompt()))


def run_words(app: App, words: list[str]) -> int:
    """Run a command line and return its status; click's own errors are one line.

    Raises:
        KeyboardInterrupt: by Ctrl-C.
        MPMError: the command failed.
    """
    colour = False if is_plain() else None  # None: on a terminal only
    try:
        status = cli.main(words, "claude-mpm", standalone_mode=False, obj=app, color=colour)
    except click.ClickException as error:
        app.print_error(_with_help(error))
        return error.exit_code
    except click.Abort:  # click's name for Ctrl-C, behind which it has ended the line
        drop_output()
        app.print_error("interrupted")
        return INTERRUPTED
    return status if isinstance(status, int) else 0


def _with_help(error: click.ClickException) -> str:
    message = error.format_message().strip()
    context = getattr(error, "ctx", None)
    return f"{message.rstrip('.')}; see {context.command_path} --help" if context else message
