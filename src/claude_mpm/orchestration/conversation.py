"""Talking with the Claude of one session: prompts in, lines and events out."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.conversation.turn import Turn
from claude_mpm.engine.command_line import asks_for_value, describe_left_out, left_out
from claude_mpm.engine.input import new_request_id
from claude_mpm.engine.live_session import LiveSession
from claude_mpm.engine.supervision.supervisor import Supervisor
from claude_mpm.errors import LaunchError, MPMError, SessionEnded, SettingsError, UsageError
from claude_mpm.orchestration.place_settings import recorded
from claude_mpm.sessions.store import Store
from claude_mpm.validation import check_prompt

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator

    from claude_mpm.config.framework import FrameworkLoader
    from claude_mpm.conversation.question import Question
    from claude_mpm.engine.options import Options
    from claude_mpm.environments.base import Environment
    from claude_mpm.journal.answers import Answer
    from claude_mpm.journal.lease import Owner
    from claude_mpm.wire.events import Event


class _Asking(threading.local):
    """What a thread asks for while it calls `send_input`, which takes the text alone."""

    command = False
    _turn: Turn | None = None

    def take(self) -> Turn | None:
        """Return the turn that is asked for; the next text is no part of it."""
        turn, self._turn = self._turn, None
        return turn

    @contextmanager
    def for_turn(self, turn: Turn | None) -> Iterator[None]:
        """Ask for a turn meanwhile."""
        self._turn = turn
        try:
            yield
        finally:
            self._turn = None

    @contextmanager
    def for_command(self) -> Iterator[None]:
        """Let Claude Code take the text as typed meanwhile."""
        self.command = True
        try:
            yield
        finally:
            self.command = False


class _Opening(msgspec.Struct, frozen=True):
    """The prompt that a start is to give Claude.

    Args:
        timeout: seconds that its turn may take, from when Claude has answered; None for no limit.
    """

    prompt: str
    timeout: float | None
    command: bool


class Conversation(ABC):
    """What can be said to a session, and what it answers; its life is the orchestrator's.

    Args:
        options: see `Options`.
    """

    name = "local"
    session_id: str
    environment: Environment
    framework_loader: FrameworkLoader
    place_settings: dict[str, Any]
    session_metadata: dict[str, Any]
    logger: logging.Logger
    _given: Any = None  # the process that a subclass made itself

    def __init__(self, options: Options) -> None:
        self.options = options
        self.running = False
        self.store = Store(options.state_dir)
        self._asking = _Asking()
        self._opening: _Opening | None = None
        self._first: Turn | None = None  # of the opening, once that was given

    @abstractmethod
    def stop(self) -> None:
        """End Claude."""

    @cached_property
    def _live(self) -> LiveSession:
        """The session in this process; made late, as what it is made of may be set until then."""
        live = LiveSession(
            self,
            self.options,
            self.environment,
            self.store,
            self.logger,
            kind=self.name,
            place=recorded(self.place_settings),
            loader=self.framework_loader,
        )
        live.supervise(Supervisor(live))
        return live

    @property
    def process(self) -> Any:
        """The running process: the host's, or what a subclass has set; None where there is none."""
        live = self._live.process if "_live" in vars(self) else None
        return self._given if live is None else live

    @process.setter
    def process(self, process: Any) -> None:
        """Take the process that a subclass has made."""
        self._given = process
        if "_live" in vars(self):
            self._live.replace_process(process)

    def leaves_out_settings(self) -> str:
        """Return in one line what of the project is kept from Claude; empty where nothing is."""
        if not self.environment.shares_files:
            return ""
        try:
            cwd = self.environment.working_folder(self.options.cwd)
        except (LaunchError, SettingsError):
            # A start says so; a Claude that runs needs the folder no more.
            return ""
        acts = left_out(self.options, self.environment, cwd)
        return describe_left_out(acts, Path(cwd)) if acts else ""

    def send_input(self, text: str) -> None:
        """Give Claude a prompt, which reaches the model as it is.

        Raises:
            SessionEnded: Claude was not started, or takes no input any more.
            BudgetExceeded: that of the session or of the day is used up.
        """
        live = self._live
        if live.process is None:
            raise SessionEnded("Claude is not running: call start() first")
        live.send(text, self._asking.take(), command=self._asking.command)

    def send_command(self, text: str) -> None:
        """Give Claude a prompt as typed: `/word` is a command of Claude Code, `@path` a file.

        Raises:
            SessionEnded: Claude was not started, or takes no input any more.
            BudgetExceeded: that of the session or of the day is used up.
        """
        with self._asking.for_command():
            self.send_input(text)

    def ask(self, prompt: str, timeout: float | None = None, *, command: bool = False) -> Turn:
        """Give Claude a prompt and return its turn, which is one turn for this prompt alone.

        Args:
            prompt: what to ask, of any length; it reaches the model as it is.
            timeout: seconds after which the turn is interrupted, counted from its beginning.
            command: let Claude Code take it as typed: `/word` as a command, `@path` as a file.

        Raises:
            UsageError: the prompt is empty.
            SessionEnded: Claude was not started, or takes no input any more.
            BudgetExceeded: that of the session or of the day is used up.
        """
        check_prompt(prompt)
        live = self._live
        is_read = live.session is not None
        structured = is_read and live.wire.structured
        quiet = None if structured else self.options.quiet
        schema = asks_for_value(self.options.claude_args)
        turn = Turn(prompt, live, timeout=timeout, quiet=quiet, command=command, schema=schema)
        if not is_read:  # an override sends it in a way of its own, and may be answered at once
            live.turns.add(turn)
        with self._asking.for_turn(turn if is_read else None):
            try:
                self.send_input(prompt)
            except BaseException:
                turn.finish(ended=True)
                raise
        if is_read and not turn.name:
            live.turns.add(turn)
        return turn

    def begin_with(
        self, prompt: str, timeout: float | None = None, *, command: bool = False
    ) -> None:
        """Have the next start give Claude a prompt, whose turn is that of `first_turn`.

        Claude gets it sooner than from `ask`: where nothing hangs on the answer to the first
        request, right behind that. A start that fails takes it back, unless Claude has acknowledged
        it; then a resume goes on with it.

        Args:
            prompt, command: as for `ask`.
            timeout: seconds after which the turn is interrupted, counted from the end of the start.

        Raises:
            UsageError: the prompt is empty.
        """
        check_prompt(prompt)
        self._opening, self._first = _Opening(prompt, timeout, command), None

    def first_turn(self) -> Turn:
        """Return the turn of the prompt of `begin_with`, which is given now if it was not yet.

        Raises:
            UsageError: there was no such prompt.
            MPMError: as from `ask`.
        """
        if self._first is None:
            if self._opening is None:
                raise UsageError(f"{self.name}: no prompt was set with begin_with()")
            given = self._opening
            self._first = self.ask(given.prompt, given.timeout, command=given.command)
        return self._first

    def _open_conversation(self) -> None:
        """Give Claude the opening while it starts, where no more than one start is tried."""
        given, options = self._opening, self.options
        kind = type(self)  # an override may need what there is only after the start
        is_ours = kind.send_input is Conversation.send_input and kind.ask is Conversation.ask
        if given is None or not is_ours or options.resume or options.start_retries:
            return
        with suppress(SessionEnded):  # the start says how
            self._first = self.ask(given.prompt, command=given.command)

    def _limit_opening(self) -> None:
        """Start the clock of the turn that was begun with the start."""
        if self._first is not None and self._opening is not None:
            self._first.limit(self._opening.timeout)

    def _take_back_opening(self) -> None:
        """Take back the prompt that a start which failed had given already."""
        first, self._first = self._first, None
        if first is None:
            return
        first.finish(ended=True)
        try:
            self._live.take_back(first)
        except MPMError as error:
            self.logger.warning("a later start may run the prompt: %s", error)

    def interrupt(self) -> None:
        """Ask Claude to stop what it is doing; the conversation goes on with the next prompt."""
        self._live.send_interrupt()

    def set_permission_mode(self, mode: str) -> str:
        """Ask Claude to work in another permission mode, and return the name of the request.

        Claude answers it with a `control_response` of that name among the events. A Claude that is
        started again has the mode that it was first started with.

        Args:
            mode: one that Claude Code knows, such as "plan".

        Raises:
            SessionEnded: the session does not run here, or takes no requests or no input any more.
        """
        live = self._live
        if live.process is None or not live.wire.structured:
            raise SessionEnded("only a session that runs, and takes requests, has a mode to set")
        request_id = new_request_id()
        live.input.control("set_permission_mode", request_id, mode=mode)
        return request_id

    def end_session(self) -> str:
        """End the Claude of this session, whoever started it, and say in one line how it ended.

        `stop` ends the one that this object started or follows.
        """
        from claude_mpm.engine.resume import end_session

        return end_session(self._live)

    def questions(self) -> list[Question]:
        """Return Claude's questions that nobody has answered."""
        return self._live.questions.open()

    def answers(self) -> list[Answer]:
        """Return the answers that were given to Claude's questions, by whomever, oldest first."""
        return list(self._live.answers().values())

    @contextmanager
    def reach(self) -> Iterator[list[Question]]:
        """Give the questions that a session waits with, to be answered without following it.

        Raises:
            MPMError: the session has ended, or cannot be reached.
        """
        from claude_mpm.engine.resume import reach

        try:
            with reach(self._live) as questions:
                yield questions
        finally:
            self.store.close()

    def events(self, since: int = 0, *, follow: bool = False) -> Iterator[Event]:
        """Yield everything that happened, as typed events.

        Args:
            since: the byte of the journal to start at: 0, or the `end` of an event.
            follow: whether to wait for more until the output has ended.
        """
        folder = self._live.folder
        from claude_mpm.sessions.reader import read_events

        return read_events(folder, self.store.index, since=since, follow=follow)

    def get_output(self, timeout: float = 0.1) -> str | None:
        """Return the next line, or None where there is none for `timeout` seconds.

        It answers after `stop` too, until all is read. Lines of a turn that was asked for with
        `ask` are the turn's.
        """
        try:
            return self._live.lines.ready.popleft()  # here: this runs once a line
        except IndexError:
            return self._live.lines.get(timeout) if timeout > 0 else None

    @property
    def owner(self) -> Owner | None:
        """Who alone may start this session's Claude; None before `start`."""
        return self._live.owner

    @property
    def storage_error(self) -> MPMError | None:
        """Why what was said or found could not be kept; the journal has what it could take."""
        session = self._live.session
        return None if session is None else session.failure or self._live.folder.full_disk()

    def _save_session_metadata(self) -> None:
        """Keep `session_metadata` in the session's folder; called by subclasses, or on request.

        Raises:
            StorageError: it could not be kept.
        """
        folder = self.store.folder(str(self.session_id))
        folder.create()
        data = {"session_id": str(self.session_id), **self.session_metadata}
        folder.write(folder.metadata, msgspec.json.encode(data, enc_hook=str) + b"\n")
