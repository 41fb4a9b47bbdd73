"""Claude's questions on the screen: what is asked, what is proposed, and a person's answer."""

from __future__ import annotations

import os
import re
import select
import sys
import termios
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
import msgspec

from claude_mpm.cli.output import echo
from claude_mpm.errors import QuestionOver, UsageError
from claude_mpm.printable import exact

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import TextIO

    from claude_mpm.conversation.question import Question

_BY = "terminal"
# The argument that tells best what a tool does, in the order of preference.
_TELLING = ("command", "file_path", "path", "pattern", "url", "query", "description", "prompt")
_SIGNS = {"old_string": "-", "new_string": "+"}  # of the lines of an argument; others have a bar
_ASKS = "  allow once (y), deny (n), deny and say why (w), leave it open (l) [n]: "
_MANY = 20  # lines, from which on it is said how many there were
_BLANKS = re.compile(" {40,}")  # would push what follows off the screen


def telling(given: Mapping[str, Any]) -> str:
    """Return the argument of a tool that tells most, in one line."""
    if isinstance(given.get("questions"), list):
        return _choices_line(given["questions"])
    found = next((str(given[name]) for name in _TELLING if given.get(name)), "")
    return " ".join(found.split())


def all_given(given: Mapping[str, Any]) -> str:
    """Return all that a tool gets in one line: what tells most, and the rest by name."""
    rest = {name: value for name, value in given.items() if name not in (_main(given), _WORDS)}
    main = telling(given)
    if isinstance(given.get("questions"), list) or not rest:
        return main or str(given.get(_WORDS, ""))
    return f"{main} {_json(rest)}".strip()


def question_line(tool: str, given: Mapping[str, Any]) -> str:
    """Return a question in one line."""
    if isinstance(given.get("questions"), list):
        return f"Claude asks: {telling(given)}"
    return f"Claude wants to use {tool}: {all_given(given)}"


def _choices_line(asked: Sequence[Any]) -> str:
    """Return what a person may choose in one line."""
    parts = []
    for each in asked:
        options = " | ".join(_labels(each))
        parts.append(f"{_field(each, 'question')}" + (f" [{options}]" if options else ""))
    return " ".join(" ".join(parts).split())


def proposals(suggestions: Sequence[Any]) -> list[str]:
    """Return what Claude proposes, so that it need not ask again, one text each."""
    found = []
    for each in suggestions:
        match _field(each, "type"):
            case "addRules":
                rules = [r for r in _list(_field(each, "rules")) if isinstance(r, dict)]
                found += [_rule(rule) for rule in rules]
            case "addDirectories":
                found += [f"folder {folder}" for folder in _list(_field(each, "directories"))]
            case "setMode":
                found.append(f"mode {_field(each, 'mode')}")
    return found


def _rule(rule: dict[str, Any]) -> str:
    content = rule.get("ruleContent")
    return f"{rule.get('toolName')}({content})" if content else str(rule.get("toolName"))


def _field(value: object, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _labels(asked: object) -> list[str]:
    return [str(_field(option, "label")) for option in _list(_field(asked, "options"))]


# --- all that is asked --------------------------------------------------------------------------

_WORDS = "description"  # says what a tool is used for, in Claude's own words


def _main(given: Mapping[str, Any]) -> str:
    return next((name for name in _TELLING if given.get(name)), "")


def whole_question(question: Question) -> list[str]:
    """Return all that a tool gets, with every character to be seen, and Claude's words about it."""
    if question.choices:
        return ["? Claude asks you to choose"]
    given, words = dict(question.input), [question.description]
    if isinstance(given.get(_WORDS), str) and not question.tool.startswith("mcp__"):
        words.append(given.pop(_WORDS))
    first = _main(given)
    names = [first, *(name for name in given if name != first)] if first else [*given]
    lines = [f"? Claude wants to use {_seen(question.tool)}{_file_name(given)}"]
    lines += [line for name in names for line in _argument(name, given[name])]
    many = len(lines)
    for said in dict.fromkeys(words):
        if not any(said in text for text in given.values() if isinstance(text, str)):
            lines += _argument("Claude's words", said)
    if many > _MANY:
        lines.append(f"  All {many} lines of what {_seen(question.tool)} gets are above.")
    return lines


def _file_name(given: Mapping[str, Any]) -> str:
    path = given.get("file_path")
    return f": {_seen(path).rpartition('/')[2]}" if isinstance(path, str) else ""


def _argument(name: str, value: object) -> Iterator[str]:
    """Yield the lines that show an argument whole; none of them looks like one of ours."""
    text = value if isinstance(value, str) else _json(value, indent=2)
    lines = _seen(text).split("\n")
    if len(lines) == 1:
        yield f"  {_seen(str(name))}: {lines[0] or '(empty)'}"
        return
    yield f"  {_seen(str(name))}:"
    sign = _SIGNS.get(name, "│")
    yield from (f"  {sign} {line}" for line in lines)


def _seen(text: str) -> str:
    return _BLANKS.sub(lambda found: f"<{len(found[0])} blanks>", exact(text))


def _json(value: object, indent: int = -1) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=indent).decode()


# --- a person's answer --------------------------------------------------------------------------


def can_ask() -> bool:
    """Return whether there is a terminal at which a person can be asked."""
    return sys.stdin.isatty()


def ask_person(question: Question) -> None:
    """Put a question to the person at the terminal; it vanishes when somebody else answers it."""
    if question.answered:
        return
    with _screen() as screen:
        _show_whole(question, screen)
        try:
            if question.choices:
                _let_choose(question, screen)
            else:
                _let_decide(question, screen)
        except QuestionOver:
            how = f"answered elsewhere: {question.answer}" if question.answer else "withdrawn"
            echo(f"\n  {how}", file=screen)


def confirmed(question: Question, asks: str) -> bool:
    """Show a question whole and return whether the person says yes to it.

    Raises:
        QuestionOver: somebody else has answered meanwhile, or Claude no longer asks.
    """
    with _screen() as screen:
        _show_whole(question, screen)
        return _read(question, asks, screen).lower() in ("y", "yes")


@contextmanager
def _screen() -> Iterator[TextIO]:
    """Open what the person sees: standard error, or where that goes elsewhere, the terminal."""
    if sys.stderr.isatty() or not sys.stdin.isatty():
        yield sys.stderr
        return
    with open(os.ttyname(sys.stdin.fileno()), "w", encoding=sys.stdin.encoding) as screen:
        yield screen


def _show_whole(question: Question, screen: TextIO) -> None:
    """Show all that is asked; what was typed before all of it was on the screen is no answer."""
    for line in whole_question(question):
        echo(line, file=screen)
    screen.flush()
    if sys.stdin.isatty():
        if screen.isatty():
            termios.tcdrain(screen)
        termios.tcflush(sys.stdin, termios.TCIFLUSH)


def _let_decide(question: Question, screen: TextIO) -> None:
    while True:
        match _read(question, _ASKS, screen).lower():
            case "y":
                try:
                    return question.allow(by=_BY)
                except UsageError as error:
                    echo(f"  {error}", file=screen)
            case "n" | "":
                return question.deny(by=_BY)
            case "w":
                reason = _read(question, "  what Claude should know: ", screen)
                return question.deny(reason, by=_BY)
            case "l":
                return None
            case _:
                echo("  y, n, w or l", file=screen)


def _let_choose(question: Question, screen: TextIO) -> None:
    """Read a number or words for each choice; nothing at all leaves Claude without an answer."""
    chosen = []
    for each in question.choosing:
        options = _labels(each)
        echo(f"  {_seen(str(each.get('question')))}", file=screen)
        for number, option in enumerate(_list(each.get("options")), 1):
            about = _field(option, _WORDS)
            more = f"  ({about})" if about else ""
            echo(f"    {number}  {_seen(options[number - 1] + more)}", file=screen)
        said = _read(question, "  a number, several with commas, or your own words: ", screen)
        chosen.append(", ".join(_chosen(part, options) for part in said.split(",")))
    if any(chosen):
        question.choose(*chosen, by=_BY)
    else:
        question.deny(by=_BY)


def _chosen(part: str, options: Sequence[str]) -> str:
    text = part.strip()
    number = int(text) if text.isdecimal() else 0
    return options[number - 1] if 0 < number <= len(options) else text


def _read(question: Question, asks: str, screen: TextIO) -> str:
    """Read one line from the terminal.

    Raises:
        QuestionOver: somebody else has answered meanwhile, or Claude no longer asks.
        click.Abort: the input is at its end.
    """
    echo(asks, nl=False, file=screen)
    screen.flush()
    heard, bell = os.pipe()
    try:
        with question.told_when_over(lambda: _ring(bell)):
            select.select([sys.stdin, heard], [], [])
    finally:
        os.close(heard)
        os.close(bell)
    if question.answered:
        raise QuestionOver
    line = sys.stdin.readline()
    if not line:
        raise click.Abort
    return line.strip()


def _ring(bell: int) -> None:
    os.write(bell, b"\n")
