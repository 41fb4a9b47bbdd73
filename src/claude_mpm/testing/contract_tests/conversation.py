"""The real Claude Code can be talked with, as it can on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claude_mpm.conversation.question import Question
from claude_mpm.conversation.verdict import Outcome
from claude_mpm.testing.script import Call, Stall
from claude_mpm.testing.subject import over, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_mpm.testing.request import Request
    from claude_mpm.testing.subject import Subject

_ASKS = Call("Bash", command="mkdir -p /tmp")  # harmless, and not among what is always allowed


def claude_answers(subject: Subject) -> None:
    """Nothing would work."""
    claude = subject.started()
    subject.says(claude, "Two lines,\n  the second with ümlauts →.")


def ten_turns_stay_apart(subject: Subject) -> None:
    """Answers would belong to other prompts than you think."""
    claude = subject.started()
    turns = [subject.asks(claude, f"Answer {n}.") for n in range(10)]
    texts = [over(turn).text for turn in turns]
    assert texts == [f"Answer {n}." for n in range(10)], f"the answers are {texts}"
    assert all(turn.verdict.ok for turn in turns), f"{[str(turn.verdict) for turn in turns]}"


def an_interrupt_ends_the_turn_alone(subject: Subject) -> None:
    """You could not stop Claude without losing the conversation."""
    claude = subject.started()
    turn = subject.asks(claude, "What was said.", Stall(), "never said")
    subject.model.wait_for_stall()
    turn.interrupt()
    outcome = over(turn).verdict.outcome
    assert outcome is Outcome.INTERRUPTED, f"an interrupted turn counts as {outcome}"
    assert "never said" not in turn.text, "the answer went on"
    subject.says(claude, "Still here.")


def a_question_is_asked_and_answered(subject: Subject) -> None:
    """Claude could do only what it may do without asking."""
    claude = subject.started(permissions="ask", claude_args=[])
    refused = _answered(subject, claude, lambda question: question.deny("not today"))
    assert "not today" in refused, f"Claude was refused a tool, and heard {shown(refused)}"
    allowed = _answered(subject, claude, lambda question: question.allow())
    assert "not today" not in allowed, f"Claude was allowed a tool, and heard {shown(allowed)}"


def _answered(subject: Subject, claude: Any, answer: Callable[[Question], None]) -> str:
    """Let Claude want a tool, answer its question, and return what it heard of the tool."""
    heard: list[str] = []

    def take(request: Request) -> str:
        heard.extend(result.text for result in request.tool_results)
        return "I see."

    turn = subject.asks(claude, _ASKS, take)
    questions = 0
    for item in turn.stream():
        if isinstance(item, Question):
            questions += 1
            answer(item)
    assert questions == 1, f"Claude wanted one tool, and asked {questions} questions"
    assert over(turn).verdict.ok, f"the turn did not complete: {turn.verdict}"
    return "".join(heard)


def a_stopped_conversation_goes_on(subject: Subject) -> None:
    """A conversation would be gone with the process that held it."""
    first = subject.started()
    over(subject.asks(first, "I shall remember the word PELICAN."))
    first.stop()
    second = subject.started(session_id=first.session_id, resume=True)
    subject.says(second, "Here again.")
    known = [request.text for request in subject.model.requests if not request.is_side][-1]
    assert "PELICAN" in known, "the conversation after a stop does not know what was said before"
