"""`claude-mpm answer`: the answer to a question of Claude's, whoever follows the session."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import click
import msgspec

from claude_mpm.cli.app import App, common_options
from claude_mpm.cli.output import echo
from claude_mpm.cli.question_view import can_ask, confirmed, question_line, telling
from claude_mpm.cli.session_arg import pick_session, status_now, taken_up
from claude_mpm.conversation.question import CHOICE, input_of
from claude_mpm.errors import QuestionOver, SessionEnded, UsageError
from claude_mpm.journal.answers import read_answers
from claude_mpm.printable import one_line
from claude_mpm.validation import NOT_JSON

if TYPE_CHECKING:
    from claude_mpm.conversation.question import Question
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.sessions.state import Asked
    from claude_mpm.sessions.status import Status

_BY = "command"
_CONFIRM = "  allow this, once? y or n [n]: "
_SHORT = 100  # characters of a question in an error


@click.command()
@click.argument("session", metavar="ID")
@click.argument("question", nargs=-1, metavar="[QUESTION]")
@click.argument("decision", type=click.Choice(["allow", "deny"]), metavar="allow|deny")
@click.option("--message", metavar="TEXT", help="What Claude is told with a refusal, or why.")
@click.option("--input", "given", metavar="JSON", help="What the tool gets in place of its input.")
@click.option(
    "--choose", multiple=True, metavar="TEXT",
    help="What you choose, where Claude asks you to; once for each choice.",
)  # fmt: skip
@click.option("--interrupt", is_flag=True, help="End the turn with the refusal.")
@common_options
@click.pass_context
def answer(
    context: click.Context,
    /,
    session: str,
    question: tuple[str, ...],
    decision: str,
    **options: Any,
) -> None:
    """Answer the QUESTION that the session ID waits with.

    What is allowed is named, or is shown whole on a terminal and asked about: else it would be
    whatever the session waits with by then. A refusal or a choice need not name a question that is
    alone.

    It is answered once: where somebody was faster, that is said, with exit status 1. Nobody need
    follow the session, and none that follows it is disturbed.
    """
    app = context.ensure_object(App)
    if len(question) > 1:
        raise UsageError("one question at a time: claude-mpm answer ID [QUESTION] allow|deny")
    _check(decision, options)
    with closing(app.store()) as store:
        folder = pick_session(store, session)
        app.know(folder)
        asked = _pick(folder, status_now(store, folder), *question)
    name = asked.request_id
    unnamed = decision == "allow" and not question and not options["choose"]
    if unnamed and not can_ask():
        raise UsageError(_name_it(folder, asked))
    with taken_up(app, folder).reach() as waiting:
        meant = next((each for each in waiting if each.request_id == name), None)
        if meant is None:
            raise _over(folder, name) or QuestionOver(f"question {name[:8]} is over")
        _check_choice(meant, decision, options)
        if unnamed and not confirmed(meant, _CONFIRM):
            raise QuestionOver(f"question {name[:8]} is left open: you did not say yes")
        _answer(meant, decision, options)
    _tell(app, folder, meant)


def _tell(app: App, folder: SessionFolder, meant: Question) -> None:
    """Print the answer that stands."""
    if app.json:
        given = {"session": folder.path.name, **msgspec.to_builtins(meant.answer)}
        app.print_json(app.redactor.value(given))
    else:
        said = f"{meant.tool} {one_line(telling(meant.input))}: {meant.answer}"
        echo(f"{folder.path.name[:8]}  {app.redactor.text(said)}")


def _check(decision: str, options: dict[str, Any]) -> None:
    """Refuse what does not go together, before anything is reached."""
    allows = decision == "allow"
    if not allows and (options["given"] is not None or options["choose"]):
        raise UsageError("--input and --choose are for what is allowed")
    if allows and options["interrupt"]:
        raise UsageError("--interrupt is for what is denied")
    if options["given"] is not None:
        try:
            given = msgspec.json.decode(options["given"])
        except (*NOT_JSON, UnicodeError) as error:
            raise UsageError(f"--input is not JSON: {error}") from error
        if not isinstance(given, dict):
            raise UsageError('--input is not a JSON object: {"file_path": "…", …}')
        options["given"] = given


def _check_choice(question: Question, decision: str, options: dict[str, Any]) -> None:
    """Keep a question from being spent on an answer in which nothing is chosen."""
    if decision == "allow" and question.choices and not options["choose"] and not options["given"]:
        line = " ".join("--choose TEXT" for _ in question.choices)
        raise UsageError(f"{telling(question.input)}: say what you choose: allow {line}")


def _name_it(folder: SessionFolder, asked: Asked) -> str:
    name, question = folder.path.name[:8], asked.request_id[:8]
    chooses = "" if asked.request.get("tool_name") != CHOICE else " --choose TEXT"
    return (
        f"name the question that you allow: claude-mpm answer {name} {question} allow{chooses}"
        f" ({_line(asked)})"
    )


def _answer(question: Question, decision: str, options: dict[str, Any]) -> None:
    message = options["message"]
    if decision == "deny":
        said = {"message": message} if message else {}
        question.deny(**said, interrupt=options["interrupt"], by=_BY)
    elif options["choose"]:
        question.choose(*options["choose"], by=_BY)
    else:
        question.allow(options["given"], reason=message or "", by=_BY)


def _pick(folder: SessionFolder, status: Status, prefix: str | None = None) -> Asked:
    """Return the question that is meant.

    Raises:
        QuestionOver: it has its answer, or Claude no longer asks.
        SessionEnded: Claude is gone, and its questions with it.
        UsageError: there is none, or several.
    """
    name = folder.path.name[:8]
    if prefix == "":
        raise UsageError("the question's name is empty; see claude-mpm questions")
    found = [each for each in status.questions if each.request_id.startswith(prefix or "")]
    before = [*read_answers(folder), *status.over] if prefix else []
    others = [each for each in before if each.startswith(prefix or "")]
    if len(found) == 1 and (found[0].request_id == prefix or not others):
        return found[0]
    if found and others:
        raise UsageError(f"{prefix!r} begins the name of a question that is over, too; give more")
    if found:
        listed = ", ".join(f"{each.request_id[:8]} ({_line(each)})" for each in found[:5])
        raise UsageError(f"session {name} waits with {len(found)} questions: {listed}; name one")
    over = _over(folder, prefix, status) if prefix else None
    if over is not None:
        raise over
    if not status.state.runs:
        raise SessionEnded(f"session {name} {status.state.since}, and its questions with it")
    if not prefix:
        last = next(reversed(read_answers(folder).values()), None)
        said = f"; the last, about {last.tool}, was {last}" if last else ""
        raise QuestionOver(f"session {name} is {status.state} and waits with no question{said}")
    raise UsageError(f"session {name} waits with no question {prefix!r}; see claude-mpm questions")


def _over(folder: SessionFolder, prefix: str, status: Status | None = None) -> QuestionOver | None:
    """Return the error that says what has become of a question; None where there was none."""
    for name, given in read_answers(folder).items():
        if name.startswith(prefix):
            return QuestionOver(f"question {name[:8]} is answered already: {given}")
    for name in status.over if status else ():
        if name.startswith(prefix):
            return QuestionOver(f"question {name[:8]} is over: Claude no longer asks")
    return None


def _line(asked: Asked) -> str:
    request = asked.request
    line = question_line(str(request.get("tool_name")), input_of(request))
    return line if len(line) <= _SHORT else f"{line[: _SHORT - 1]}…"
