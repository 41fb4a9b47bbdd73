"""Claude's questions of one session: asked, answered, withdrawn."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from claude_mpm.orchestration.question import Question

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_mpm.wire.events import Event


class QuestionDesk:
    """Makes a `Question` of each permission that Claude asks for.

    Args:
        answer: gives Claude the answer.
        ask: given each question.
        answerer: called with each question, in a thread of its own; None to leave them open.
    """

    def __init__(
        self,
        *,
        answer: Callable[[str, dict[str, Any]], None],
        ask: Callable[[Question], None],
        answerer: Callable[[Question], None] | None,
    ) -> None:
        self.answered_before: frozenset[str] = frozenset()
        self._answer = answer
        self._ask = ask
        self._answerer = answerer
        self._questions: dict[str, Question] = {}

    def open(self) -> list[Question]:
        """Return the questions that nobody has answered."""
        return [question for question in self._questions.values() if not question.answered]

    def observe(self, event: Event) -> None:
        """Take a question, or that one is withdrawn."""
        if event.kind == "control_request":
            self._take(event.data.request_id, event.data.request)
        elif event.kind == "control_cancel_request":
            question = self._questions.get(event.data.request_id)
            if question is not None:
                question.withdraw()

    def _take(self, request_id: str, request: dict[str, Any]) -> None:
        if request.get("subtype") != "can_use_tool" or request_id in self.answered_before:
            return
        self._questions = {q.request_id: q for q in self.open()}
        question = Question(request_id, request, self._answer)
        self._questions[request_id] = question
        self._ask(question)
        if self._answerer is not None:
            threading.Thread(target=self._answerer, args=(question,), daemon=True).start()
