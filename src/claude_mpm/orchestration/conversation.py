"""Talking with the Claude of one session: prompts in, lines and events out."""

from __future__ import annotations

import threading
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.conversation.questions import QuestionDesk
from claude_mpm.conversation.turn import Turn
from claude_mpm.conversation.turn_tracker import TurnTracker
from claude_mpm.engine.answering import reach
from claude_mpm.engine.command_line import asks_for_value, left_out, told
from claude_mpm.engine.controller import Controller
from claude_mpm.engine.line_queue import LineQueue
from claude_mpm.engine.resume import end_session
from claude_mpm.errors import BudgetExceeded, LaunchError, MPMError, SessionEnded, SettingsError
from claude_mpm.journal.answers import read_answers
from claude_mpm.orchestration.place_settings import recorded
from claude_mpm.sessions.state import MOST, SessionState
from claude_mpm.sessions.store import Store
from claude_mpm.validation import check_prompt

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator

    from claude_mpm.conversation.question import Question
    from claude_mpm.engine.options import Options
    from claude_mpm.engine.supervision.supervisor import Supervisor
    from claude_mpm.environments.base import Environment
    from claude_mpm.journal.answers import Answer
    from claude_mpm.journal.lease import Owner
    from claude_mpm.wire.events import Event


class Conversation:
    """What can be said to a session, and what comes of it; its life is the orchestrator's.

    Args:
        options: see `Options`.
    """

    name = "local"
    session_id: str
    environment: Environment
    place_settings: dict[str, Any]
    session_metadata: dict[str, Any]
    logger: logging.Logger
    _supervision: Supervisor

    def __init__(self, options: Options) -> None:
        self.options = options
        self.process: Any = None
        self.running = False
        self.store = Store(options.state_dir)
        self._controller: Controller | None = None
        self._state = SessionState(most=MOST)
        self._turns = TurnTracker(
            self._state, self._announce, lambda turn: self._supervision.parks(turn)
        )
        self._asking = threading.local()
        self._lines = LineQueue(
            options.batch_size, self._turns.take_line, lambda: self._turns.active is not None
        )
        self._questions = QuestionDesk(
            self._state,
            give=lambda answer: self._control().input.answer(answer),
            given=lambda: read_answers(self._control().folder),
            ask=self._turns.ask,
            answerer=options.permissions if callable(options.permissions) else None,
            timeout=options.question_timeout,
        )

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
        return told(acts, Path(cwd)) if acts else ""

    def send_input(self, text: str) -> None:
        """Give Claude a prompt, which reaches the model as it is.

        Raises:
            SessionEnded: Claude was not started, or takes no input any more.
            BudgetExceeded: that of the session or of the day is used up.
        """
        controller = self._controller
        if controller is None or controller.process is None:
            raise SessionEnded("Claude is not running: call start() first")
        self._supervision.admit()
        turn: Turn | None = getattr(self._asking, "turn", None)
        self._asking.turn = None
        command = turn.command if turn else getattr(self._asking, "command", False)
        prompt_uuid = turn.uuid if turn else str(uuid.uuid4())
        name = controller.input.put(controller.wire, text, prompt_uuid, command=command)
        if turn is None:
            controller.input.announce(name)
        else:
            turn.name = name
            self._turns.add(turn)

    def send_command(self, text: str) -> None:
        """Give Claude a prompt as typed: `/word` is a command of Claude Code, `@path` a file.

        Raises:
            SessionEnded: Claude was not started, or takes no input any more.
            BudgetExceeded: that of the session or of the day is used up.
        """
        self._asking.command = True
        try:
            self.send_input(text)
        finally:
            self._asking.command = False

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
        controller = self._controller
        session = controller.session if controller is not None else None
        structured = controller is not None and controller.wire.structured
        quiet = None if structured else self.options.quiet
        turn = Turn(prompt, timeout=timeout, interrupt=self.interrupt, quiet=quiet, command=command)
        self._acquaint(turn)
        if session is None:  # an override sends it in a way of its own, and may be answered at once
            self._turns.add(turn)
        self._asking.turn = turn if session is not None else None
        try:
            self.send_input(prompt)
        except BaseException:
            turn.finish(ended=True)
            raise
        finally:
            self._asking.turn = None
        if session is not None and not turn.name:
            self._turns.add(turn)
        return turn

    def _acquaint(self, turn: Turn) -> None:
        """Let a turn know what there is to know of it before it begins."""
        turn.journal = self._controller.session if self._controller is not None else None
        wanted = asks_for_value(self.options.claude_args)
        turn.known = msgspec.structs.replace(turn.known, schema=wanted)

    def _announce(self, turn: Turn) -> None:
        if not turn.name:
            self._supervision.take_up(turn)
            return
        try:
            self._control().ownership.check()
            self._supervision.admit()
            self._control().input.announce(turn.name)
        except BudgetExceeded as error:
            if turn.known.resumed:  # a fresh Claude goes on with it by itself
                self.interrupt()
            self.logger.warning("prompt not delivered: %s", error)
            turn.finish(budget=str(error))
        except MPMError as error:
            self.logger.error("prompt not delivered: %s", error)
            turn.finish(ended=True, stderr=str(error))

    def interrupt(self) -> None:
        """Ask Claude to stop what it is doing; the conversation goes on with the next prompt."""
        controller = self._controller
        if controller is not None and controller.process is not None and controller.wire.structured:
            controller.input.control("interrupt")

    def end_session(self) -> str:
        """End the Claude of this session, whoever started it, and say in one line how it ended.

        `stop` ends the one that this object started or follows.
        """
        return end_session(self._control())

    def questions(self) -> list[Question]:
        """Return Claude's questions that nobody has answered."""
        return self._questions.open()

    def answers(self) -> list[Answer]:
        """Return the answers that were given to Claude's questions, by whomever, oldest first."""
        return list(read_answers(self._control().folder).values())

    @contextmanager
    def reach(self) -> Iterator[list[Question]]:
        """Give the questions that a session waits with, to be answered without following it.

        Raises:
            MPMError: the session has ended, or cannot be reached.
        """
        try:
            with reach(self._control(), self.store) as questions:
                yield questions
        finally:
            self.store.close()

    def events(self, since: int = 0, *, follow: bool = False) -> Iterator[Event]:
        """Yield everything that happened, as typed events.

        Args:
            since: the byte of the journal to start at: 0, or the `end` of an event.
            follow: whether to wait for more until the output is over.
        """
        folder = self._control().folder
        from claude_mpm.sessions.reader import read_events

        return read_events(folder, self.store.index, since=since, follow=follow)

    def get_output(self, timeout: float = 0.1) -> str | None:
        """Return the next line, or None where there is none for `timeout` seconds.

        It answers after `stop` too, until all is read. Lines of a turn that was asked for with
        `ask` are the turn's.
        """
        try:
            return self._lines.ready.popleft()  # here: this runs once a line
        except IndexError:
            return self._lines.get(timeout) if timeout > 0 else None

    @property
    def owner(self) -> Owner | None:
        """Who alone may start this session's Claude; None before `start`."""
        return self._controller.ownership.owner if self._controller else None

    @property
    def storage_error(self) -> MPMError | None:
        """Why what was said or found could not be kept; the journal has what it could take."""
        controller = self._controller
        if controller is None or controller.session is None:
            return None
        return controller.session.failure or controller.full_disk()

    def _save_session_metadata(self) -> None:
        """Keep `session_metadata` in the session's folder; called by subclasses, or on request.

        Raises:
            StorageError: it could not be kept.
        """
        folder = self.store.folder(str(self.session_id))
        folder.create()
        data = {"session_id": str(self.session_id), **self.session_metadata}
        folder.write(folder.metadata, msgspec.json.encode(data, enc_hook=str) + b"\n")

    def _control(self) -> Controller:
        if self._controller is None:
            self._controller = Controller(
                self.session_id,
                self.options,
                self.environment,
                self.store,
                self.logger,
                kind=self.name,
                place=recorded(self.place_settings),
            )
        return self._controller
