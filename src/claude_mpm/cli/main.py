"""The entry point: runs a command, and turns errors into one line and an exit status."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from typing import TYPE_CHECKING

from claude_mpm.cli.app import App
from claude_mpm.cli.end_signals import TERMINATED, Terminated
from claude_mpm.cli.output import INTERRUPTED, echo
from claude_mpm.cli.quick import run_quickly
from claude_mpm.cli.streams import OutputLost, ReaderGone, drop_output, take_over
from claude_mpm.errors import MPMError, UsageError
from claude_mpm.printable import exact_line
from claude_mpm.validation import is_text

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its status."""
    atexit.register(gc.freeze)  # a last collection of cycles at the exit would take 10 ms
    take_over()
    words, claude_args = _split(list(sys.argv[1:] if arguments is None else arguments))
    app = App(claude_args)
    sys.exit(_flushed(app, _status_of(app, words)))


def _status_of(app: App, words: list[str]) -> int:
    """Run the command line, end what it has left, and return its status; errors are one line."""
    try:
        try:
            return _run(app, words)
        finally:
            app.end_signals.end_sessions()
    except MPMError as error:
        return _ended_by(app, error)
    except Terminated:
        drop_output()
        app.print_error(f"ended by signal {signal.SIGTERM:d}")
        return TERMINATED
    except KeyboardInterrupt:
        app.end_signals.end_sessions()  # it may have come before that had begun
        return _interrupted(app)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not error.filename and _is_adrift():
            app.print_error("the current folder is gone; change to one that exists")
            return 1
        place = f"{error.filename}: " if error.filename else ""
        app.print_error(f"{place}{error.strerror or error}; mend it and try again")
        return 1


def _interrupted(app: App) -> int:
    """Say that Ctrl-C has ended the command, whose output may wait for a reader; its status."""
    drop_output()
    echo(err=True)  # behind the ^C that the terminal shows
    app.print_error("interrupted")
    return INTERRUPTED


def _flushed(app: App, status: int) -> int:
    """Print what is left, and return the status of the command then."""
    try:
        sys.stdout.flush()
    except OutputLost as error:
        return _ended_by(app, error) or status
    except KeyboardInterrupt:
        return _interrupted(app)
    return status


def _run(app: App, words: list[str]) -> int:
    for word in app.claude_args:
        if not is_text(word):
            shown = exact_line(word)
            raise UsageError(f"the argument {shown} for claude is not UTF-8; correct it")
    status = run_quickly(app, words)
    if status is not None:
        return status
    from claude_mpm.cli.commands import run_words  # with click, which not all need

    return run_words(app, words)


def _ended_by(app: App, error: MPMError) -> int:
    """Print an error and return its exit status."""
    if not isinstance(error, ReaderGone):  # the reader has ended on purpose
        app.print_error(str(error))
    return error.exit_status


def _is_adrift() -> bool:
    """Return whether the current folder was removed, so that relative paths are useless."""
    try:
        os.getcwd()  # noqa: PTH109 -- asked for its error alone
    except FileNotFoundError:
        return True
    return False


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Split off the arguments after the first `--`, which are for Claude."""
    if "--" not in words:
        return words, []
    place = words.index("--")
    return words[:place], words[place + 1 :]
