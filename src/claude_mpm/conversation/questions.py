"""Claude's questions of one session: asked, answered, withdrawn."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from claude_mpm.conversation.observer import Observer
from claude_mpm.conversation.question import Question
from claude_mpm.errors import MPMError
from claude_mpm.wire.events import ControlRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from claude_mpm.conversation.turn_tracker import TurnTracker
    from claude_mpm.journal.answers import Answer
    from claude_mpm.sessions.state import Asked, SessionState
    from claude_mpm.wire.events import Event

# How often, in seconds, answers that other processes gave are looked for.
_LOOK_INTERVAL = 0.5


class Asker(Protocol):
    """What the desk needs of the session whose questions it keeps."""

    state: SessionState
    turns: TurnTracker

    def answer(self, answer: Answer) -> Answer:
        """Give Claude an answer, and return the one that stands."""

    def refuse(self, request_id: str, subtype: str) -> None:
        """Answer a request of an unknown kind with an error, so that Claude does not wait."""

    def answers(self) -> Mapping[str, Answer]:
        """Return the answers there are, whoever gave them, by the question's name."""


class Policy(Protocol):
    """Who answers, and by when."""

    @property
    def permissions(self) -> str | Callable[[Question], None]:
        """Called with each question, in a thread of its own, if it can be."""

    @property
    def question_timeout(self) -> float | None:
        """Seconds that a question waits, from when it is seen here; None for no limit."""


class QuestionDesk(Observer):
    """Makes a `Question` of each permission that Claude asks for, and keeps its time.

    Args:
        session: asks, and is given the answers.
        options: who answers, and by when.
    """

    __slots__ = ("_answerer", "_looked", "_questions", "_session", "_settled", "_state", "_timeout")

    def __init__(self, session: Asker, options: Policy) -> None:
        self._session = session
        self._state = session.state
        self._answerer = options.permissions if callable(options.permissions) else None
        self._timeout = options.question_timeout
        self._settled: frozenset[str] = frozenset()
        # Replaced, and not changed, where something goes: other threads ask for what is open.
        self._questions: dict[str, tuple[Question, float]] = {}  # with when it was seen
        self._looked = 0.0

    def skip(self, settled: frozenset[str]) -> None:
        """Ask nobody for what was settled before the session was taken up, by Claude's names."""
        self._settled = settled

    def open(self) -> list[Question]:
        """Return the questions that nobody has answered."""
        return [question for question, _ in self._waiting()]

    @property
    def may_block(self) -> bool:
        """Whether there may be a question that nobody has answered: its answer is looked for."""
        return bool(self._questions)

    def waits(self) -> bool:
        """Return whether Claude waits for an answer that nobody has given."""
        return bool(self._questions) and bool(self._waiting())

    def observe(self, event: Event) -> None:
        """Take a permission request, or note that one was withdrawn or answered."""
        if isinstance(event.data, ControlRequest):
            asked = self._state.asked.get(event.data.request_id)
            if asked is not None:
                self._take(asked)
            elif not event.data.asks_permission:
                # A build of tomorrow may wait for the answer, and nobody knows one.
                self._session.refuse(event.data.request_id, event.data.subtype)
        if self._questions:
            self._withdraw(q for q in self.open() if q.request_id not in self._state.asked)
            self.act()

    def act(self) -> None:
        """Take answers that others gave, and deny what has waited too long; called often."""
        now = time.monotonic()
        if not self._questions or now < self._looked + _LOOK_INTERVAL:
            return
        self._looked = now
        given = self._session.answers()
        for question, seen in self._waiting():
            if question.request_id in given:
                question.withdraw(given[question.request_id])
            elif self._timeout is not None and now >= seen + self._timeout:
                # One that cannot be given any more has lost its question with Claude.
                with suppress(MPMError):
                    message = f"Nobody answered within {self._timeout:g} seconds."
                    question.deny(message, by="deadline")
        self._questions = {q.request_id: (q, seen) for q, seen in self._waiting()}

    def _waiting(self) -> list[tuple[Question, float]]:
        return [each for each in tuple(self._questions.values()) if not each[0].answered]

    def _withdraw(self, questions: Iterable[Question]) -> None:
        given = None
        for question in questions:
            given = self._session.answers() if given is None else given
            question.withdraw(given.get(question.request_id))

    def _take(self, asked: Asked) -> None:
        name = asked.request_id
        if name in self._settled or name in self._questions:
            return
        question = Question(name, asked.request, self._session)
        if name in (given := self._session.answers()):
            question.withdraw(given[name])
            return
        self._questions[name] = (question, time.monotonic())
        self._session.turns.ask(question)
        if self._answerer is not None:
            # A function of the user's, which may take as long as a person: the reader goes on.
            threading.Thread(target=self._answerer, args=(question,), daemon=True).start()
