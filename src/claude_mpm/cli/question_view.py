"""Claude's questions on the screen: what is asked, what is proposed, and a person's answer."""

from __future__ import annotations

import os
import select
import sys
import termios
from typing import TYPE_CHECKING, Any

import click

from claude_mpm.cli.app import printable
from claude_mpm.errors import QuestionOver

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from claude_mpm.orchestration.question import Question

_BY = "terminal"
# The argument that tells best what a tool does, in the order of preference.
_TELLING = ("command", "file_path", "path", "pattern", "url", "query", "description", "prompt")
_ASKS = "  allow once (y), deny (n), deny and say why (w), leave it open (l) [n]: "


def telling(given: Mapping[str, Any]) -> str:
    """Return the argument of a tool that tells most, in one line."""
    found = next((str(given[name]) for name in _TELLING if given.get(name)), "")
    return " ".join(found.split())


def question_line(tool: str, given: Mapping[str, Any], description: str) -> str:
    """Return a question in one line."""
    asked = given.get("questions")
    if isinstance(asked, list):
        return f"Claude asks: {' '.join(str(_field(each, 'question')) for each in asked)}"
    return f"Claude wants to use {tool}: {description or telling(given)}"


def proposals(suggestions: Sequence[Any]) -> list[str]:
    """Return what Claude proposes, so that it need not ask again, one text each."""
    found = []
    for each in suggestions:
        match _field(each, "type"):
            case "addRules":
                rules = [r for r in _field(each, "rules") or () if isinstance(r, dict)]
                found += [_rule(rule) for rule in rules]
            case "addDirectories":
                found += [f"folder {folder}" for folder in _field(each, "directories") or ()]
            case "setMode":
                found.append(f"mode {_field(each, 'mode')}")
    return found


def _rule(rule: dict[str, Any]) -> str:
    content = rule.get("ruleContent")
    return f"{rule.get('toolName')}({content})" if content else str(rule.get("toolName"))


def _field(value: object, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def ask_person(question: Question) -> None:
    """Put a question to the person at the terminal; it vanishes when somebody else answers it."""
    if question.answered:
        return
    line = question_line(question.tool, question.input, question.description)
    if sys.stdin.isatty():  # what was typed before it was asked is no answer to it
        termios.tcflush(sys.stdin, termios.TCIFLUSH)
    click.echo(printable(f"? {line}"), err=True)
    try:
        if question.choices:
            _let_choose(question)
        else:
            _let_decide(question)
    except QuestionOver:
        how = f"answered elsewhere: {question.answer}" if question.answer else "withdrawn"
        click.echo(f"\n  {how}", err=True)


def _let_decide(question: Question) -> None:
    while True:
        match _read(question, _ASKS).lower():
            case "y":
                return question.allow(by=_BY)
            case "n" | "":
                return question.deny(by=_BY)
            case "w":
                return question.deny(_read(question, "  what Claude should know: "), by=_BY)
            case "l":
                return None
        click.echo("  y, n, w or l", err=True)


def _let_choose(question: Question) -> None:
    """Read a number or words for each choice; nothing at all leaves Claude without an answer."""
    chosen = []
    for each in question.input["questions"]:
        options = [str(_field(option, "label")) for option in _field(each, "options") or ()]
        click.echo(printable(f"  {_field(each, 'question')}"), err=True)
        for number, option in enumerate(options, 1):
            click.echo(printable(f"    {number}  {option}"), err=True)
        said = _read(question, "  a number, several with commas, or your own words: ")
        chosen.append(", ".join(_chosen(part, options) for part in said.split(",")))
    if any(chosen):
        question.choose(*chosen, by=_BY)
    else:
        question.deny(by=_BY)


def _chosen(part: str, options: Sequence[str]) -> str:
    text = part.strip()
    number = int(text) if text.isdecimal() else 0
    return options[number - 1] if 0 < number <= len(options) else text


def _read(question: Question, asks: str) -> str:
    """Read one line from the terminal.

    Raises:
        QuestionOver: somebody else has answered meanwhile, or Claude no longer asks.
        click.Abort: the input is at its end.
    """
    click.echo(asks, nl=False, err=True)
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
