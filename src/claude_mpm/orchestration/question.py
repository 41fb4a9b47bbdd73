"""A question of Claude's: may this tool be used?"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from claude_mpm.errors import QuestionOver, UsageError
from claude_mpm.journal.answers import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CHOICE = "AskUserQuestion"  # Claude's tool to let a person choose; every use of it is a question


class Question:
    """One permission that Claude asks for; it waits without limit for `allow` or `deny`.

    Attributes:
        request_id: Claude's name for the question.
        tool: the tool that it wants to use.
        input: what it wants to give the tool.
        suggestions: rules that would answer such questions from now on, as Claude proposes them.
        answered: whether there is an answer already, or Claude withdrew the question.
        answer: the answer, whoever gave it; None where there is none, or it is not known.
    """

    def __init__(
        self,
        request_id: str,
        request: dict[str, Any],
        give: Callable[[Answer], Answer],
    ) -> None:
        self.request_id = request_id
        self.tool = str(request.get("tool_name", ""))
        self.input: dict[str, Any] = request.get("input") or {}
        self.description = str(request.get("description") or "")
        self.suggestions: list[Any] = request.get("permission_suggestions") or []
        self.tool_use_id = str(request.get("tool_use_id") or "")
        self.answered = False
        self.answer: Answer | None = None
        self._give = give
        self._lock = threading.RLock()
        self._listeners: list[Callable[[], None]] = []

    @property
    def choices(self) -> list[str]:
        """What Claude lets a person choose, one text for each choice; mostly nothing."""
        asked = self.input.get("questions") if self.tool == _CHOICE else None
        return [str(each.get("question")) for each in asked or () if isinstance(each, dict)]

    def allow(
        self, updated_input: dict[str, Any] | None = None, *, reason: str = "", by: str = "api"
    ) -> None:
        """Let Claude use the tool.

        Args:
            updated_input: what the tool gets instead of what Claude wanted to give it.
            reason: for the record.
            by: who answers, for the record.

        Raises:
            QuestionOver: the question is answered or withdrawn.
        """
        given = self.input if updated_input is None else updated_input
        self._answer({"behavior": "allow", "updatedInput": given}, reason, by)

    def choose(self, *chosen: str, by: str = "api") -> None:
        """Answer what Claude lets a person choose.

        Args:
            chosen: one for each of `choices`: the label of an option, several with commas between
                them where Claude takes several, or words of your own.
            by: who answers, for the record.

        Raises:
            QuestionOver: the question is answered or withdrawn.
            UsageError: there is nothing to choose, or not so much.
        """
        if not chosen or len(chosen) != len(self.choices):
            raise UsageError(
                f"the question about {self.tool} takes {len(self.choices)} choices,"
                f" not {len(chosen)}"
            )
        answers = dict(zip(self.choices, chosen, strict=True))
        self.allow({**self.input, "answers": answers}, reason="; ".join(chosen), by=by)

    def deny(
        self, message: str = "The user says no.", *, interrupt: bool = False, by: str = "api"
    ) -> None:
        """Refuse; Claude reads `message` and goes on, or the turn ends where `interrupt` is set.

        Args:
            by: who answers, for the record.

        Raises:
            QuestionOver: the question is answered or withdrawn.
        """
        response: dict[str, Any] = {"behavior": "deny", "message": message}
        if interrupt:
            response["interrupt"] = True
        self._answer(response, message, by)

    def withdraw(self, answer: Answer | None = None) -> None:
        """Note that Claude no longer asks, or what somebody else has answered."""
        with self._lock:
            if self.answered:
                return
            self.answered, self.answer = True, answer
            for heard in self._listeners:
                heard()

    @contextmanager
    def told_when_over(self, heard: Callable[[], None]) -> Iterator[None]:
        """Have a function called, in any thread, if the question is answered or withdrawn now."""
        with self._lock:
            self._listeners.append(heard)
            if self.answered:
                heard()
        try:
            yield
        finally:
            with self._lock:
                self._listeners.remove(heard)

    def _over(self) -> QuestionOver:
        if self.answer is None:
            return QuestionOver(f"the question about {self.tool} is over: Claude no longer asks")
        return QuestionOver(f"the question about {self.tool} is answered already: {self.answer}")

    def _answer(self, response: dict[str, Any], reason: str, by: str) -> None:
        with self._lock:
            if self.answered:
                raise self._over()
            mine = Answer(
                question=self.request_id,
                tool=self.tool,
                decision=response["behavior"],
                reason=reason,
                by=by,
                at=time.time(),
                response=response,
            )
            stands = self._give(mine)
        self.withdraw(stands)
        if stands is not mine:
            raise self._over()
