"""`claude-mpm answer`: the answer to a question of Claude's, whoever follows the session."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import click
import msgspec

from claude_mpm.cli.app import App, common_options, one_line
from claude_mpm.cli.pick import pick_session, status_now, taken_up
from claude_mpm.cli.question_view import question_line, telling
from claude_mpm.errors import QuestionOver, SessionEnded, UsageError
from claude_mpm.journal.answers import read_answers

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.orchestration.question import Question
    from claude_mpm.status import Asked, Status

_BY = "command"


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
    """Answer the QUESTION that the session ID waits with; it need not be named if it is alone.

    It is answered once: where somebody was faster, that is said, with exit status 1. Nobody need
    follow the session, and none that follows it is disturbed.
    """
    app = context.ensure_object(App)
    if len(question) > 1:
        raise UsageError("one question at a time: claude-mpm answer ID [QUESTION] allow|deny")
    _check(decision, options)
    with closing(app.store()) as store:
        folder = pick_session(store, session)
        name = _pick(folder, status_now(store, folder), *question)
    with taken_up(app, folder).reach() as waiting:
        meant = next((each for each in waiting if each.request_id == name), None)
        if meant is None:
            raise _over(folder, name) or QuestionOver(f"question {name[:8]} is over")
        _answer(meant, decision, options)
    if app.json:
        app.print_json({"session": folder.path.name, **msgspec.to_builtins(meant.answer)})
    else:
        what = one_line(telling(meant.input))
        click.echo(f"{folder.path.name[:8]}  {meant.tool} {what}: {meant.answer}")


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
        except msgspec.DecodeError as error:
            raise UsageError(f"--input is not JSON: {error}") from error
        if not isinstance(given, dict):
            raise UsageError('--input is not a JSON object: {"file_path": "…", …}')
        options["given"] = given


def _answer(question: Question, decision: str, options: dict[str, Any]) -> None:
    message = options["message"]
    if decision == "deny":
        said = {"message": message} if message else {}
        question.deny(**said, interrupt=options["interrupt"], by=_BY)
    elif options["choose"]:
        question.choose(*options["choose"], by=_BY)
    else:
        question.allow(options["given"], reason=message or "", by=_BY)


def _pick(folder: SessionFolder, status: Status, prefix: str = "") -> str:
    """Return the name of the question that is meant.

    Raises:
        QuestionOver: it has its answer, or Claude no longer asks.
        SessionEnded: Claude is gone, and its questions with it.
        UsageError: there is none, or several.
    """
    name = folder.path.name[:8]
    found = [each for each in status.questions if each.request_id.startswith(prefix)]
    if len(found) == 1:
        return found[0].request_id
    if found:
        listed = ", ".join(f"{each.request_id[:8]} ({_line(each)})" for each in found[:5])
        raise UsageError(f"session {name} waits with {len(found)} questions: {listed}; name one")
    over = _over(folder, prefix, status) if prefix else None
    if over is not None:
        raise over
    if not status.state.runs:
        raise SessionEnded(f"session {name} has {status.state}, and its questions with it")
    if not prefix:
        last = next(reversed(read_answers(folder).values()), None)
        before = f"; the last, about {last.tool}, was {last}" if last else ""
        raise QuestionOver(f"session {name} is {status.state} and waits with no question{before}")
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
    return question_line(str(request.get("tool_name")), request.get("input") or {}, "")
