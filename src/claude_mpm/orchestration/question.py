"""A question of Claude's: may this tool be used?"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from claude_mpm.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable


class Question:
    """One permission that Claude asks for; it waits without limit for `allow` or `deny`.

    Attributes:
        request_id: Claude's name for the question.
        tool: the tool that it wants to use.
        input: what it wants to give the tool.
        suggestions: rules that would answer such questions from now on, as Claude proposes them.
        answered: whether there is an answer already, or Claude withdrew the question.
    """

    def __init__(
        self,
        request_id: str,
        request: dict[str, Any],
        send: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self.request_id = request_id
        self.tool = str(request.get("tool_name", ""))
        self.input: dict[str, Any] = request.get("input") or {}
        self.description = str(request.get("description") or "")
        self.suggestions: list[Any] = request.get("permission_suggestions") or []
        self.answered = False
        self._send = send
        self._lock = threading.Lock()

    def allow(self, updated_input: dict[str, Any] | None = None) -> None:
        """Let Claude use the tool.

        Args:
            updated_input: what the tool gets instead of what Claude wanted to give it.

        Raises:
            UsageError: the question is answered or withdrawn.
        """
        given = self.input if updated_input is None else updated_input
        self._answer({"behavior": "allow", "updatedInput": given})

    def deny(self, message: str = "The user says no.", *, interrupt: bool = False) -> None:
        """Refuse; Claude reads `message` and goes on, or the turn ends where `interrupt` is set.

        Raises:
            UsageError: the question is answered or withdrawn.
        """
        answer: dict[str, Any] = {"behavior": "deny", "message": message}
        if interrupt:
            answer["interrupt"] = True
        self._answer(answer)

    def withdraw(self) -> None:
        """Note that Claude no longer asks."""
        with self._lock:
            self.answered = True

    def _answer(self, answer: dict[str, Any]) -> None:
        with self._lock:
            if self.answered:
                raise UsageError(f"the question about {self.tool} is answered already")
            self._send(self.request_id, answer)
            self.answered = True
