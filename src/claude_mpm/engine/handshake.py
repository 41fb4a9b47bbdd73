"""Waiting until Claude is there: it prints nothing until it is sent something."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from claude_mpm.conversation.observer import Observer
from claude_mpm.engine.input import new_request_id
from claude_mpm.engine.lazy_event import Flag
from claude_mpm.errors import LaunchError, SessionEnded

if TYPE_CHECKING:
    from claude_mpm.engine.live_session import LiveSession
    from claude_mpm.wire.events import Event

_VERSION_TIMEOUT = 5.0  # seconds after the first answer


class Handshake(Observer):
    """Sends Claude `initialize` and waits for the answer, or for the end.

    Args:
        live: the session that begins.
    """

    __slots__ = (
        "_answered", "_asks", "_ended", "_live", "_refused", "_request_id", "_says_more",
        "_settled", "_told", "_version_id",
    )  # fmt: skip

    def __init__(self, live: LiveSession) -> None:
        self._live = live
        self._request_id = new_request_id()
        # Whoever starts the session waits for both; the reader sets them, after what it heard.
        self._settled = Flag()
        self._answered = Flag()
        # Where nobody knows its version, it is asked; a build that does not know the question, and
        # says so or is silent, is older than all that can be served.
        self._asks = live.negotiation.asks_version
        self._version_id = new_request_id()
        self._refused = False
        self._told = ""  # the version
        self._says_more = False  # its first answer has something: a stand-in's may be empty
        self._ended = False

    @property
    def lets_prompts_through(self) -> bool:
        """Whether a prompt may follow the request before it is answered.

        Not where the answer may show that this Claude is refused, nor where the request has the
        agents in it: without them, the prompt must not be run.
        """
        return not (self._asks or self._live.gives_agents_at_first)

    def begin(self) -> None:
        """Send the request, and what is asked beside it."""
        live = self._live
        with suppress(SessionEnded):  # how it ended is looked at in `wait`
            live.begin_input(self._request_id)
            if self._asks:
                live.input.control("get_binary_version", self._version_id)

    def wait(self, timeout: float) -> None:
        """Wait for Claude's first answer.

        Raises:
            LaunchError: it did not come within `timeout` seconds, or Claude ended before, with
                whatever status.
            ClaudeTooOld: this Claude cannot be served honestly.
        """
        live = self._live
        if not self._settled.wait(timeout):
            raise LaunchError(
                f"Claude did not answer within {timeout:g} seconds; see {live.folder.errors}"
            )
        # Of a process that is none, as a test may give, nobody knows how it ended.
        if self._ended and live.exit_status() is not None:
            said = live.stillbirth()
            raise LaunchError(f"Claude did not start: {said}{live.negotiation.doubt(said)}")
        if self._asks and (not self._answered.wait(_VERSION_TIMEOUT) or self._refused):
            live.negotiation.refuse_silent()
        if self._told or self._says_more:
            live.note_version(self._told)

    def observe(self, event: Event) -> None:
        """Take Claude's answers to the requests."""
        if event.kind != "control_response":
            return
        response = event.data.response
        if response.get("request_id") == self._request_id:
            self._live.input.host_is_there()
            self._says_more = bool(response.get("response"))
            self._note_version(response, "claude_code_version")
            self._settled.set()
        elif response.get("request_id") == self._version_id:
            self._refused = response.get("subtype") == "error"
            self._note_version(response, "version")
            self._answered.set()

    def _note_version(self, response: dict[str, Any], field: str) -> None:
        body = response.get("response")
        told = body.get(field) if isinstance(body, dict) else None
        self._told = told if isinstance(told, str) and told else self._told

    def end(self) -> None:
        """Note that no answer will come."""
        self._ended = True
        self._settled.set()
        self._answered.set()
