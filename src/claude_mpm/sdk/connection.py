"""One session as the SDK sees a process: lines of JSON in, messages out, an end."""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

from claude_mpm.engine.live_session import LiveSession
from claude_mpm.errors import MPMError, SessionEnded, UsageError
from claude_mpm.journal.answers import Answer
from claude_mpm.journal.cursor import Cursor
from claude_mpm.journal.prompts import answered_requests
from claude_mpm.sessions.reader import LIVENESS_INTERVAL
from claude_mpm.sessions.status import State, read_status
from claude_mpm.sessions.store import Store
from claude_mpm.wire import StreamJson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claude_mpm.engine.options import Options
    from claude_mpm.environments.base import Environment
    from claude_mpm.sessions.state import Asked
    from claude_mpm.sessions.status import Status
    from claude_mpm.wire.events import Event

_logger = logging.getLogger(__name__)


class Connection:
    """Starts a session or takes it up, and passes its lines on. Every method may wait.

    One thread reads, another writes, and any may close.

    Args:
        session_id: the session's name.
        options: what Claude is started with.
        environment: the place.
        first: what is added to the SDK's first request.
        shows_state: whether the SDK's user asked for the messages on Claude's state.
    """

    def __init__(
        self,
        session_id: str,
        options: Options,
        environment: Environment,
        *,
        first: Mapping[str, str],
        shows_state: bool,
    ) -> None:
        self._store = Store(options.state_dir)
        self.session_id = session_id
        self._live = LiveSession(
            self, options, environment, self._store, _logger, kind=environment.name, place={}
        )
        # The SDK's own transport does not say that nobody answers: its hooks may.
        self._live.negotiation.leave_out("permission_prompts")
        self._folder = self._live.folder
        self._first = first
        self._shows_state = shows_state
        self._shows_words = False  # whether the SDK's user asked for all that subagents say
        self._answered: frozenset[str] = frozenset()
        self._named: set[str] = set()  # the prompts that have their identity from us
        self._errors: Cursor | None = None
        self._unfinished = ""
        self._heard = False
        self._closed = False
        # Held by who opens or closes, so that neither meets the other half done.
        self._changing = threading.Lock()
        # Held by the thread that reads, and by the one that closes what is read.
        self._reading = threading.Lock()

    @property
    def runs(self) -> bool:
        """Whether there is a Claude."""
        return self._live.hosted and not self._closed and self._folder.exit_status() is None

    def open(self) -> None:
        """Start Claude, or follow the session where it runs still.

        Raises:
            MPMError: the place, the folder or Claude is not fit for it.
        """
        with self._changing:
            self._check_open()
            known = self._folder.errors.size() if self._folder.errors.exists() else 0
            if not self._follow():
                self._live.launch(None)
            self._errors = Cursor(self._folder.errors, known)

    def _follow(self) -> bool:
        """Follow the session where it runs: from the begin of the turn that runs, if one does."""
        folder, live = self._folder, self._live
        if not folder.meta_file.exists():
            return False
        live.rejoin()
        if not folder.has_host() or folder.exit_status() is not None:
            return False
        if folder.read_meta().wire != StreamJson.name:
            name = folder.path.name
            raise UsageError(f"session {name} runs on a terminal; first: claude-mpm stop {name}")
        self._store.catch_up(folder)
        status = read_status(folder, self._store.index)
        self._answered = status.over | answered_requests(folder)
        unfinished = status.state in (State.WORKING, State.WAITING) and not self._is_over(status)
        live.attach(status.begin if unfinished else folder.journal.size())
        live.input.answer_again([*status.unheard, *(q.request_id for q in status.questions)])
        return True

    def _is_over(self, status: Status) -> bool:
        """Return whether the last turn has its result: Claude calls itself idle a bit later."""
        turns = self._store.index.newest_turns(self._folder.path.name)
        return any(status.uuid in turn.prompts for turn in turns)

    def write(self, data: str) -> None:
        """Give Claude lines of JSON, each as one message of the inbox; half a line waits.

        Raises:
            SessionEnded: Claude takes no input any more.
            UsageError: a line is no JSON, at which Claude would end.
        """
        *lines, self._unfinished = (self._unfinished + data).split("\n")
        for line in filter(str.strip, lines):
            self._send(line)

    def _send(self, line: str) -> None:
        try:
            message = json.loads(line)
        except ValueError as error:
            raise UsageError(f"this is no line of JSON, so it was not sent: {line[:80]}") from error
        match message:
            case {
                "type": "control_response",
                "response": {"request_id": question, "response": {"behavior": _} as given},
            } if (asked := self._live.state.request(question)) is not None:
                self._answer(asked, given)
                return
            case {"type": "user"} if not message.get("uuid"):  # Claude is to run it once
                message["uuid"] = str(uuid.uuid4())
                self._named.add(message["uuid"])
            case {"type": "control_request", "request": {"subtype": "initialize"} as request}:
                self._shows_words = bool(request.get("forwardSubagentText"))
                request.update(self._first, forwardSubagentText=True)
        self._live.input.send(json.dumps(message).encode() + b"\n")

    def _answer(self, asked: Asked, given: dict[str, Any]) -> None:
        """Answer a question, unless somebody else was faster, and keep the answer."""
        answer = Answer(
            question=asked.request_id,
            tool=str(asked.request.get("tool_name")),
            decision=given["behavior"],
            reason=given.get("message", ""),
            at=time.time(),
            response=given,
        )
        stands = self._live.input.answer(answer)
        if stands != answer:
            _logger.warning("%s was answered before: %s", answer.tool, stands)

    def end_input(self) -> None:
        """End Claude's input, after all that was written before."""
        try:
            self.write("\n")
            self._live.input.end()
        except SessionEnded as error:  # which is what is wanted
            _logger.debug("the input had ended already: %s", error)

    def read(self) -> list[dict[str, Any]] | None:
        """Return the next messages; none where nothing came for a while, None at the end."""
        session = self._live.session
        with self._reading:
            if self._closed or session is None or session.ended:
                return None
            events = session.read(LIVENESS_INTERVAL)
        if events and not self._heard:
            self._heard = True
            self._live.input.host_is_there()
        return [message for event in events if (message := self._shown(event)) is not None]

    def _shown(self, event: Event) -> dict[str, Any] | None:
        """Return a message as the SDK's own transport would; None for what is none."""
        self._live.state.apply(event)
        if not event.raw or event.kind == "not-json" or self._is_kept_back(event):
            return None
        message: dict[str, Any] = json.loads(event.raw)
        if event.kind == "control_request" and message["request_id"] in self._answered:
            return None
        if event.kind == "command_lifecycle" and message["command_uuid"] in self._named:
            return None  # else the SDK takes an earlier error for settled
        if event.type == "system/session_state_changed" and not self._shows_state:
            message["sdk_host_only"] = True  # so the SDK reads it, and gives it to nobody
        return message

    def _is_kept_back(self, event: Event) -> bool:
        """Return whether Claude would not have sent this, had we not asked for it.

        Where it waits for a subagent, it does not send what that says (2.1.330).
        """
        data = event.data
        if event.kind != "assistant" or self._shows_words or not data.parent_tool_use_id:
            return False
        only_words = all(block.type in ("text", "thinking") for block in data.message.blocks)
        return only_words and data.parent_tool_use_id not in self._live.state.backgrounded

    def read_errors(self) -> list[str]:
        """Return the next lines of what Claude writes to standard error."""
        with self._reading:
            lines = self._errors.read() if self._errors is not None and not self._closed else []
        return [line.data.decode("utf-8", "replace").rstrip() for line in lines]

    def ending(self) -> tuple[int | None, str]:
        """Return Claude's exit status, and the last that it wrote to standard error."""
        return self._live.exit_status(), self._folder.stderr_tail()

    def stop(self) -> None:
        """End Claude, as `close` does."""
        self.close()

    def interrupt(self) -> None:
        """Ask Claude to stop what it is doing."""
        self._live.send_interrupt()

    def close(self) -> None:
        """End Claude: interrupt, end of input, terminate, kill; each step bounded. Safe twice.

        Raises:
            MPMError: the disk did not take what was read last.
        """
        with self._changing:
            if self._closed:
                return
            self._closed = True
            try:
                if self._live.process is not None:
                    self._live.end(None)
            finally:
                self._let_go()

    def _let_go(self) -> None:
        if self._live.session is not None:
            self._live.session.let_go()
        with self._reading:
            self._live.release()
            if self._errors is not None:
                self._errors.close()
        try:
            if self._folder.meta_file.exists():
                self._store.catch_up(self._folder)
        finally:
            self._store.close()

    def _check_open(self) -> None:
        if self._closed:
            raise MPMError(f"session {self._folder.path.name}: the connection was closed")
