"""`claude-mpm answer`: answers a question of Claude, from any process."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import click
import msgspec

from claude_mpm.cli.app import App
from claude_mpm.cli.elsewhere import asked_places, everywhere_option, pick_anywhere
from claude_mpm.cli.options import common_options
from claude_mpm.cli.output import echo
from claude_mpm.cli.question_view import can_ask, confirmed, main_argument, question_line
from claude_mpm.cli.session_arg import status_now, taken_up
from claude_mpm.conversation.question import CHOICE, input_of
from claude_mpm.errors import QuestionOver, SessionEnded, UsageError
from claude_mpm.journal.answers import read_answers
from claude_mpm.printable import one_line, shortened
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
@click.option(
    "--input", "replacement", metavar="JSON", help="What the tool gets in place of its input."
)
@click.option(
    "--choose", multiple=True, metavar="TEXT",
    help="What you choose, where Claude asks you to; once for each choice.",
)  # fmt: skip
@click.option("--interrupt", is_flag=True, help="End the turn with the refusal.")
@everywhere_option
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
    places = asked_places(app, everywhere=options["everywhere"])
    with closing(app.store()) as store:
        folder = pick_anywhere(app, store, session, places)
        app.know(folder)
        request = _pick(folder, status_now(store, folder), *question)
    name = request.request_id
    unnamed = decision == "allow" and not question and not options["choose"]
    if unnamed and not can_ask():
        raise UsageError(_name_it(folder, request))
    with taken_up(app, folder).reach() as waiting:
        answered = next((each for each in waiting if each.request_id == name), None)
        if answered is None:
            raise _over(folder, name) or QuestionOver(f"question {name[:8]} is over")
        _check_choice(answered, decision, options)
        if unnamed and not confirmed(answered, _CONFIRM):
            raise QuestionOver(f"question {name[:8]} is left open: you did not say yes")
        _answer(answered, decision, options)
    _print_answer(app, folder, answered)


def _print_answer(app: App, folder: SessionFolder, answered: Question) -> None:
    """Print the answer that counts."""
    if app.json:
        record = {"session": folder.path.name, **msgspec.to_builtins(answered.answer)}
        app.print_json(app.redactor.value(record))
    else:
        line = f"{answered.tool} {one_line(main_argument(answered.input))}: {answered.answer}"
        echo(f"{folder.path.name[:8]}  {app.redactor.text(line)}")


def _check(decision: str, options: dict[str, Any]) -> None:
    """Refuse options that exclude each other, before the session is opened."""
    allows = decision == "allow"
    if not allows and (options["replacement"] is not None or options["choose"]):
        raise UsageError("--input and --choose are for what is allowed")
    if allows and options["interrupt"]:
        raise UsageError("--interrupt is for what is denied")
    if options["replacement"] is not None:
        try:
            replacement = msgspec.json.decode(options["replacement"])
        except (*NOT_JSON, UnicodeError) as error:
            raise UsageError(f"--input is not JSON: {error}") from error
        if not isinstance(replacement, dict):
            raise UsageError('--input is not a JSON object: {"file_path": "…", …}')
        options["replacement"] = replacement


def _check_choice(question: Question, decision: str, options: dict[str, Any]) -> None:
    """Refuse to allow a question with choices without a choice."""
    if (
        decision == "allow"
        and question.choices
        and not options["choose"]
        and not options["replacement"]
    ):
        line = " ".join("--choose TEXT" for _ in question.choices)
        raise UsageError(f"{main_argument(question.input)}: say what you choose: allow {line}")


def _name_it(folder: SessionFolder, request: Asked) -> str:
    name, question = folder.path.name[:8], request.request_id[:8]
    chooses = "" if request.request.get("tool_name") != CHOICE else " --choose TEXT"
    return (
        f"name the question that you allow: claude-mpm answer {name} {question} allow{chooses}"
        f" ({_line(request)})"
    )


def _answer(question: Question, decision: str, options: dict[str, Any]) -> None:
    message = options["message"]
    if decision == "deny":
        reason = {"message": message} if message else {}
        question.deny(**reason, interrupt=options["interrupt"], by=_BY)
    elif options["choose"]:
        question.choose(*options["choose"], by=_BY)
    else:
        question.allow(options["replacement"], reason=message or "", by=_BY)


def _pick(folder: SessionFolder, status: Status, prefix: str | None = None) -> Asked:
    """Return the question that the command line names.

    Raises:
        QuestionOver: it was answered, or Claude no longer asks.
        SessionEnded: Claude has ended, and its questions with it.
        UsageError: there is none, or several.
    """
    name = folder.path.name[:8]
    if prefix == "":
        raise UsageError("the question's name is empty; see claude-mpm questions")
    matching = [q for q in status.questions if q.request_id.startswith(prefix or "")]
    before = [*read_answers(folder), *status.over] if prefix else []
    others = [other for other in before if other.startswith(prefix or "")]
    if len(matching) == 1 and (matching[0].request_id == prefix or not others):
        return matching[0]
    if matching and others:
        raise UsageError(f"{prefix!r} begins the name of a question that is over, too; give more")
    if matching:
        listed = ", ".join(f"{q.request_id[:8]} ({_line(q)})" for q in matching[:5])
        raise UsageError(f"session {name} waits with {len(matching)} questions: {listed}; name one")
    over = _over(folder, prefix, status) if prefix else None
    if over is not None:
        raise over
    if not status.state.runs:
        raise SessionEnded(f"session {name} {status.state.since}, and its questions with it")
    if not prefix:
        last = next(reversed(read_answers(folder).values()), None)
        previous = f"; the last, about {last.tool}, was {last}" if last else ""
        raise QuestionOver(f"session {name} is {status.state} and waits with no question{previous}")
    raise UsageError(f"session {name} waits with no question {prefix!r}; see claude-mpm questions")


def _over(folder: SessionFolder, prefix: str, status: Status | None = None) -> QuestionOver | None:
    """Return the error with the state of a question; None if there is no such question."""
    for name, reply in read_answers(folder).items():
        if name.startswith(prefix):
            return QuestionOver(f"question {name[:8]} is answered already: {reply}")
    for name in status.over if status else ():
        if name.startswith(prefix):
            return QuestionOver(f"question {name[:8]} is over: Claude no longer asks")
    return None


def _line(request: Asked) -> str:
    fields = request.request
    return shortened(question_line(str(fields.get("tool_name")), input_of(fields)), _SHORT)
