"""`claude-mpm run` with the commonest options, read without click.

To import click takes a fifth of the time until Claude is started. What is read here is read as
click reads it; whatever else a command line has is left to click, with its help and its errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from claude_mpm.cli.flags import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_mpm.cli.app import App

_OF_RUN = {"-i": "text", "--input": "text", "--session": "session"}
_BARE = {"--detach": "detach", "--as-command": "command"}
_OF_APP = {"--json": "json", "--quiet": "quiet"}


class RunWords(NamedTuple):
    """What the words after `run` say.

    Args:
        flags: the settings, by their keys.
        shown: the attributes of the `App` that are set.
        given: the arguments of `run` itself.
    """

    flags: dict[str, Any]
    shown: set[str]
    given: dict[str, Any]


def parse_run(words: Sequence[str]) -> RunWords | None:
    """Return what a command line of `run` says; None where click has to read it."""
    if words[:1] != ["run"]:
        return None
    read = RunWords({}, set(), {})
    rest = list(reversed(words[1:]))
    while rest:
        word = rest.pop()
        if word in _BARE:
            read.given[_BARE[word]] = True
        elif word in _OF_APP:
            read.shown.add(_OF_APP[word])
        elif word in BY_NAME and not BY_NAME[word].metavar:
            read.flags[BY_NAME[word].key] = BY_NAME[word].value
        elif word in BY_NAME or word in _OF_RUN:
            if not rest or rest[-1].startswith("-") or not _keep(read, word, rest.pop()):
                return None
        elif word.startswith("-") or "prompt" in read.given:
            return None
        else:
            read.given["prompt"] = word
    return read


def _keep(read: RunWords, word: str, value: str) -> bool:
    """Keep the value of an option; return False where it is no such value."""
    if word in _OF_RUN:
        read.given[_OF_RUN[word]] = value
        return True
    flag = BY_NAME[word]
    try:
        kept = flag.kind(value)
    except ValueError:
        return False
    read.flags[flag.key] = [*read.flags.get(flag.key, ()), kept] if flag.many else kept
    return True


def run_quickly(app: App, words: Sequence[str]) -> int | None:
    """Run what a command line says and return the exit status; None where click has to read it."""
    read = parse_run(words)
    if read is None:
        return None
    from claude_mpm.cli.run import run_given

    app.flags.update(read.flags)
    for name in read.shown:
        setattr(app, name, True)
    return run_given(app, **read.given)
