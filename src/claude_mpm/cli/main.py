"""The entry point: finds the command, and turns errors into one line and an exit status."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import sys
from typing import TYPE_CHECKING

import click

from claude_mpm import __version__
from claude_mpm.cli.app import App, common_options
from claude_mpm.cli.output import echo
from claude_mpm.errors import MPMError
from claude_mpm.printable import one_line

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
    "tickets": "tickets",
    "delegations": "delegations",
    "orchestrators": "orchestrators",
    "docker": "docker",
    "serve": "serve",
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
        found = getattr(importlib.import_module(f"claude_mpm.cli.{module}"), cmd_name)
        assert isinstance(found, click.Command)
        return found


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
        from claude_mpm.cli.screen import is_meant, open_screen

        context.exit(open_screen(app) if is_meant(app) else chat(app))
    from claude_mpm.cli.run import read_prompt, run_prompt

    context.exit(run_prompt(app, read_prompt()))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its status."""
    atexit.register(gc.freeze)  # at the end, to look for cycles in what is left takes 10 ms
    _open_what_is_closed()
    words = list(sys.argv[1:] if arguments is None else arguments)
    words, claude_args = _split(words)
    try:
        colour = False if os.environ.get("NO_COLOR") else None  # None: on a terminal only
        app = App(claude_args)
        status = cli.main(words, "claude-mpm", standalone_mode=False, obj=app, color=colour)
    except click.ClickException as error:
        _tell(app, _with_help(error))
        status = error.exit_code
    except MPMError as error:
        _tell(app, str(error))
        status = error.exit_status
    except (click.Abort, KeyboardInterrupt):
        _tell(app, "interrupted")
        status = _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _tell(app, f"{place}{error.strerror or error}; mend it and try again")
        status = 1
    sys.exit(status if isinstance(status, int) else 0)


def _tell(app: App, message: str) -> None:
    """Print an error, which is one line whatever is in it."""
    echo(f"claude-mpm: {one_line(app.redactor.text(message))}", err=True)


def _with_help(error: click.ClickException) -> str:
    message = error.format_message().strip()
    context = getattr(error, "ctx", None)
    return f"{message.rstrip('.')}; see {context.command_path} --help" if context else message


def _open_what_is_closed() -> None:
    """Give the standard streams that the caller closed to the null device, so that all exist."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 -- for good


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Take what stands after the first `--` away from the command line: it is Claude's."""
    if "--" not in words:
        return words, []
    place = words.index("--")
    return words[:place], words[place + 1 :]
