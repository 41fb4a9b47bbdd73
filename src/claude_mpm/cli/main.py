"""The entry point: runs a command, and turns errors into one line and an exit status."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import sys
from typing import TYPE_CHECKING

import click

from claude_mpm import __version__
from claude_mpm.cli.app import App, common_options, is_plain
from claude_mpm.cli.output import echo
from claude_mpm.cli.streams import OutputLost, ReaderGone, take_over
from claude_mpm.errors import MPMError, UsageError
from claude_mpm.printable import exact_line, one_line
from claude_mpm.validation import is_text

if TYPE_CHECKING:
    from collections.abc import Sequence

_INTERRUPTED = 130
# Command to module; a module is imported when its command is used.
_COMMANDS = {
    "run": "run",
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its status."""
    atexit.register(gc.freeze)  # a last collection of cycles at the exit would take 10 ms
    take_over()
    words, claude_args = _split(list(sys.argv[1:] if arguments is None else arguments))
    app = App(claude_args)
    status = _status_of(app, words)
    try:
        sys.stdout.flush()
    except OutputLost as error:
        status = _ended_by(app, error) or status
    sys.exit(status)


def _status_of(app: App, words: list[str]) -> int:
    """Run the command line and return its status; errors are one line."""
    colour = False if is_plain() else None  # None: on a terminal only
    try:
        for word in app.claude_args:
            if not is_text(word):
                shown = exact_line(word)
                raise UsageError(f"the argument {shown} for claude is not UTF-8; correct it")
        status = cli.main(words, "claude-mpm", standalone_mode=False, obj=app, color=colour)
    except click.ClickException as error:
        _tell(app, _with_help(error))
        return error.exit_code
    except MPMError as error:
        return _ended_by(app, error)
    except (click.Abort, KeyboardInterrupt):
        _tell(app, "interrupted")
        return _INTERRUPTED
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not error.filename and _is_adrift():
            _tell(app, "the current folder is gone; change to one that exists")
            return 1
        place = f"{error.filename}: " if error.filename else ""
        _tell(app, f"{place}{error.strerror or error}; mend it and try again")
        return 1
    return status if isinstance(status, int) else 0


def _ended_by(app: App, error: MPMError) -> int:
    """Print an error and return its exit status."""
    if not isinstance(error, ReaderGone):  # the reader has ended on purpose
        _tell(app, str(error))
    return error.exit_status


def _is_adrift() -> bool:
    """Return whether the current folder was removed, so that relative paths are useless."""
    try:
        os.getcwd()  # noqa: PTH109 -- asked for its error alone
    except FileNotFoundError:
        return True
    return False


def _tell(app: App, message: str) -> None:
    """Print an error as one line."""
    echo(f"claude-mpm: {one_line(app.redactor.text(message))}", err=True)


def _with_help(error: click.ClickException) -> str:
    message = error.format_message().strip()
    context = getattr(error, "ctx", None)
    return f"{message.rstrip('.')}; see {context.command_path} --help" if context else message


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Split off the arguments after the first `--`, which are for Claude."""
    if "--" not in words:
        return words, []
    place = words.index("--")
    return words[:place], words[place + 1 :]
