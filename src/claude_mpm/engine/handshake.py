"""Waiting until Claude is there: it prints nothing until it is sent something."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from claude_mpm.engine.input import new_request_id
from claude_mpm.engine.lazy_event import Flag
from claude_mpm.errors import LaunchError, SessionEnded

if TYPE_CHECKING:
    from claude_mpm.engine.controller import Controller


class Handshake:
    """Sends Claude `initialize` and waits for the answer, or for the end.

    Args:
        controller: of the session that begins.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._request_id = new_request_id()
        self._settled = Flag()
        self._ended = False

    def wait(self, timeout: float) -> None:
        """Wait for Claude's first answer.

        Raises:
            LaunchError: it did not come within `timeout` seconds, or Claude ended before, with
                whatever status.
        """
        with suppress(SessionEnded):  # how it ended is looked at below
            self._controller.input.control("initialize", self._request_id)
        folder = self._controller.folder
        if not self._settled.wait(timeout):
            raise LaunchError(
                f"Claude did not answer within {timeout:g} seconds; see {folder.errors}"
            )
        # Of a process that is none, as a test may give, nobody knows how it ended.
        if self._ended and self._controller.exit_status() is not None:
            raise LaunchError(f"Claude did not start: {self._controller.stillbirth()}")

    def note_answer(self, response: dict[str, Any]) -> None:
        """Called with each answer of Claude's to a request of ours."""
        if response.get("request_id") == self._request_id:
            self._controller.input.host_is_there()
            self._settled.set()

    def note_end(self) -> None:
        """Called when the output is over."""
        self._ended = True
        self._settled.set()
