"""Claude's questions on the terminal: the request, its proposals, and the user's answer."""

from __future__ import annotations

import os
import re
import select
import sys
import termios
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.cli.output import echo
from claude_mpm.errors import QuestionOver, UsageError
from claude_mpm.printable import exact

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import TextIO

    from claude_mpm.conversation.question import Question

_BY = "terminal"
# The most informative argument of a tool, in the order of preference.
_MAIN_ARGUMENTS = (
    "command",
    "file_path",
    "path",
    "pattern",
    "url",
    "query",
    "description",
    "prompt",
)
_SIGNS = {
    "old_string": "-",
    "new_string": "+",
}  # before the lines of an argument; other arguments have a bar
_ASKS = "  allow once (y), deny (n), deny and say why (w), leave it open (l) [n]: "
_COUNT_LINES = 20  # from this many lines on, their number is shown
_BLANKS = re.compile(" {40,}")  # would push text off the screen


def main_argument(arguments: Mapping[str, Any]) -> str:
    """Return the most informative argument of a tool, in one line."""
    if isinstance(arguments.get("questions"), list):
        return _choices_line(arguments["questions"])
    text = next((str(arguments[name]) for name in _MAIN_ARGUMENTS if arguments.get(name)), "")
    return " ".join(text.split())


def arguments_line(arguments: Mapping[str, Any]) -> str:
    """Return all arguments of a tool in one line: the main one, and the others by name."""
    rest = {
        name: value
        for name, value in arguments.items()
        if name not in (_main_name(arguments), _DESCRIPTION)
    }
    main = main_argument(arguments)
    if isinstance(arguments.get("questions"), list) or not rest:
        return main or str(arguments.get(_DESCRIPTION, ""))
    return f"{main} {_json(rest)}".strip()


def question_line(tool: str, arguments: Mapping[str, Any]) -> str:
    """Return a question in one line."""
    if isinstance(arguments.get("questions"), list):
        return f"Claude asks: {main_argument(arguments)}"
    return f"Claude wants to use {tool}: {arguments_line(arguments)}"


def _choices_line(questions: Sequence[Any]) -> str:
    """Return the user's choices, in one line."""
    parts = []
    for question in questions:
        options = " | ".join(_labels(question))
        parts.append(f"{_field(question, 'question')}" + (f" [{options}]" if options else ""))
    return " ".join(" ".join(parts).split())


def proposals(suggestions: Sequence[Any]) -> list[str]:
    """Return Claude's proposals of rules with which it need not ask again, one text each."""
    texts = []
    for suggestion in suggestions:
        match _field(suggestion, "type"):
            case "addRules":
                rules = [r for r in _list(_field(suggestion, "rules")) if isinstance(r, dict)]
                texts += [_rule(rule) for rule in rules]
            case "addDirectories":
                texts += [f"folder {folder}" for folder in _list(_field(suggestion, "directories"))]
            case "setMode":
                texts.append(f"mode {_field(suggestion, 'mode')}")
    return texts


def _rule(rule: dict[str, Any]) -> str:
    content = rule.get("ruleContent")
    return f"{rule.get('toolName')}({content})" if content else str(rule.get("toolName"))


def _field(value: object, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _labels(question: object) -> list[str]:
    return [str(_field(option, "label")) for option in _list(_field(question, "options"))]


# --- the whole question --------------------------------------------------------------------------

_DESCRIPTION = "description"  # says what a tool is used for, in Claude's own words


def _main_name(arguments: Mapping[str, Any]) -> str:
    return next((name for name in _MAIN_ARGUMENTS if arguments.get(name)), "")


def whole_question(question: Question) -> list[str]:
    """Return all arguments of a tool, with every character visible, and Claude's description."""
    if question.choices:
        return ["? Claude asks you to choose"]
    arguments, words = dict(question.input), [question.description]
    if isinstance(arguments.get(_DESCRIPTION), str) and not question.tool.startswith("mcp__"):
        words.append(arguments.pop(_DESCRIPTION))
    first = _main_name(arguments)
    names = [first, *(name for name in arguments if name != first)] if first else [*arguments]
    lines = [f"? Claude wants to use {_seen(question.tool)}{_file_name(arguments)}"]
    lines += [line for name in names for line in _argument(name, arguments[name])]
    many = len(lines)
    for description in dict.fromkeys(words):
        if not any(description in text for text in arguments.values() if isinstance(text, str)):
            lines += _argument("Claude's words", description)
    if many > _COUNT_LINES:
        lines.append(f"  All {many} lines of what {_seen(question.tool)} gets are above.")
    return lines


def _file_name(arguments: Mapping[str, Any]) -> str:
    path = arguments.get("file_path")
    return f": {_seen(path).rpartition('/')[2]}" if isinstance(path, str) else ""


def _argument(name: str, value: object) -> Iterator[str]:
    """Yield the lines of a whole argument, which cannot be mistaken for lines of ours."""
    text = value if isinstance(value, str) else _json(value, indent=2)
    lines = _seen(text).split("\n")
    if len(lines) == 1:
        yield f"  {_seen(str(name))}: {lines[0] or '(empty)'}"
        return
    yield f"  {_seen(str(name))}:"
    sign = _SIGNS.get(name, "│")
    yield from (f"  {sign} {line}" for line in lines)


def _seen(text: str) -> str:
    return _BLANKS.sub(lambda match: f"<{len(match[0])} blanks>", exact(text))


def _json(value: object, indent: int = -1) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=indent).decode()


# --- the user's answer --------------------------------------------------------------------------


def can_ask() -> bool:
    """Return whether there is a terminal on which the user can be asked."""
    return sys.stdin.isatty()


def ask_person(question: Question) -> None:
    """Ask the user a question; it disappears when it is answered elsewhere."""
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
    """Show a whole question, and return whether the user agrees.

    Raises:
        QuestionOver: somebody else has answered meanwhile, or Claude no longer asks.
    """
    with _screen() as screen:
        _show_whole(question, screen)
        return _read(question, asks, screen).lower() in ("y", "yes")


@contextmanager
def _screen() -> Iterator[TextIO]:
    """Open what the user sees: standard error, or the terminal if that is redirected."""
    if sys.stderr.isatty() or not sys.stdin.isatty():
        yield sys.stderr
        return
    with open(os.ttyname(sys.stdin.fileno()), "w", encoding=sys.stdin.encoding) as screen:
        yield screen


def _show_whole(question: Question, screen: TextIO) -> None:
    """Show the whole question; what was typed before it was complete is discarded."""
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
    """Read a number or text for each choice; an empty line gives no answer."""
    chosen = []
    for choice in question.choosing:
        options = _labels(choice)
        echo(f"  {_seen(str(choice.get('question')))}", file=screen)
        for number, option in enumerate(_list(choice.get("options")), 1):
            about = _field(option, _DESCRIPTION)
            more = f"  ({about})" if about else ""
            echo(f"    {number}  {_seen(options[number - 1] + more)}", file=screen)
        line = _read(question, "  a number, several with commas, or your own words: ", screen)
        chosen.append(", ".join(_chosen(part, options) for part in line.split(",")))
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
        KeyboardInterrupt: the input is at its end, which means the same as Ctrl-C.
    """
    echo(asks, nl=False, file=screen)
    screen.flush()
    woken, wake = os.pipe()
    try:
        with question.told_when_over(lambda: _ring(wake)):
            select.select([sys.stdin, woken], [], [])
    finally:
        os.close(woken)
        os.close(wake)
    if question.answered:
        raise QuestionOver
    line = sys.stdin.readline()
    if not line:
        raise KeyboardInterrupt
    return line.strip()


def _ring(bell: int) -> None:
    os.write(bell, b"\n")
