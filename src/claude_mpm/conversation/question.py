"""A question of Claude's: may this tool be used?"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from claude_mpm.errors import QuestionOver, UsageError
from claude_mpm.journal.answers import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHOICE = "AskUserQuestion"  # Claude's tool to let a person choose; every use of it is a question


def input_of(request: dict[str, Any]) -> dict[str, Any]:
    """Return what Claude wants to give a tool; what is no JSON object stands under "input"."""
    given = request.get("input")
    return given if isinstance(given, dict) else {} if given is None else {"input": given}


class Answering(Protocol):
    """Whoever gives Claude the answers."""

    def answer(self, answer: Answer) -> Answer:
        """Answer what has no answer; return the answer that it has then."""


class Question:
    """One permission that Claude asks for; it waits without limit for `allow` or `deny`.

    Attributes:
        request_id: Claude's name for the question.
        tool: the tool that it wants to use.
        input: what it wants to give the tool.
        malformed: whether that is no JSON object, so that it cannot be allowed as it is; `input`
            has it under "input" then.
        suggestions: rules that would answer such questions from now on, as Claude proposes them.
        answered: whether there is an answer already, or Claude withdrew the question.
        answer: the answer, whoever gave it; None where there is none, or it is not known.
    """

    def __init__(
        self,
        request_id: str,
        request: dict[str, Any],
        answering: Answering,
    ) -> None:
        self.request_id = request_id
        self.tool = str(request.get("tool_name", ""))
        self.input = input_of(request)
        self.malformed = self.input is not request.get("input") and bool(self.input)
        self.description = str(request.get("description") or "")
        proposed = request.get("permission_suggestions")
        self.suggestions: list[Any] = proposed if isinstance(proposed, list) else []
        self.tool_use_id = str(request.get("tool_use_id") or "")
        self.answered = False
        self.answer: Answer | None = None
        self._answering = answering
        # Several may answer at once, in any thread, while the reader hears that it is withdrawn: it
        # is held for `answered` and the listeners. Who answers holds it until the answer is kept.
        self._lock = threading.RLock()
        self._listeners: list[Callable[[], None]] = []

    @property
    def choices(self) -> list[str]:
        """What Claude lets a person choose, one text for each choice; mostly nothing."""
        return [str(each.get("question")) for each in self.choosing]

    @property
    def choosing(self) -> list[dict[str, Any]]:
        """What Claude lets a person choose, as it stands in `input`: with the options."""
        asked = self.input.get("questions") if self.tool == CHOICE else None
        return [each for each in asked if isinstance(each, dict)] if isinstance(asked, list) else []

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
            UsageError: what Claude wants to give the tool is no JSON object.
        """
        if self.malformed and updated_input is None:
            raise UsageError(
                f"what {self.tool} is to get is no JSON object: deny it, or give an input of yours"
            )
        given = self.input if updated_input is None else updated_input
        self._answer({"behavior": "allow", "updatedInput": given}, reason, by)

    def choose(self, *chosen: str, by: str = "api") -> None:
        """Answer what Claude lets a person choose.

        Args:
            chosen: one for each of `choices`: the label of an option, several with commas between
                them where Claude takes several, or words of your own. Where there is one thing to
                choose, and Claude takes several, they may be given one by one.
            by: who answers, for the record.

        Raises:
            QuestionOver: the question is answered or withdrawn.
            UsageError: there is nothing to choose, or not so much.
        """
        asked = self.choosing
        if len(asked) == 1 and asked[0].get("multiSelect"):
            chosen = (", ".join(chosen),)[: len(chosen)]
        if not chosen or len(chosen) != len(asked):
            several = "; several options of one are one choice: 'A, B'" if asked else ""
            raise UsageError(
                f"the question about {self.tool} takes {len(asked)} choices,"
                f" not {len(chosen)}{several}"
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
            stands = self._answering.answer(mine)
        self.withdraw(stands)
        if stands is not mine:
            raise self._over()
