"""What the page does to a session: prompts, answers, interrupts, its end."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from claude_mpm.engine.shutdown import end_what_is_left
from claude_mpm.errors import MPMError, QuestionOver, SessionEnded, UsageError
from claude_mpm.journal.answers import read_answers
from claude_mpm.sessions.status import State, read_status
from claude_mpm.validation import check_prompt
from claude_mpm.web.models import AnswerKept, PromptPut

if TYPE_CHECKING:
    from claude_mpm.conversation.question import Question
    from claude_mpm.conversation.turn import Turn
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.orchestration.orchestrator import MPMOrchestrator
    from claude_mpm.sessions.store import Store
    from claude_mpm.web.models import GivenAnswer

_BY = "web"
_logger = logging.getLogger("claude_mpm.web")


class TakesUp(Protocol):
    """Makes orchestrators of sessions that are there already."""

    def __call__(self, folder: SessionFolder, **options: object) -> MPMOrchestrator:
        """Return one that takes a session up, with what the session was started with."""


class _Held:
    """A session that is followed here until its turns have ended."""

    def __init__(self, claude: MPMOrchestrator) -> None:
        self.claude = claude
        self.open = 0  # turns; guarded by the lock of `Steering`

    def begin(self) -> None:
        """Count one more turn."""
        self.open += 1

    def end(self) -> None:
        """Count one turn less."""
        self.open -= 1


class Steering:
    """Acts on sessions in the place of a person at a terminal; every method may wait.

    A session that is given a prompt is followed until its turns have ended, and is released then:
    its linger rule counts from there on. Called from many threads.

    Args:
        store: the sessions.
        take_up: makes orchestrators of them.
    """

    def __init__(self, store: Store, take_up: TakesUp) -> None:
        self._store = store
        self._take_up = take_up
        self._held: dict[str, _Held] = {}
        self._lock = threading.Lock()  # of `_held`, `_starts` and all in them
        self._starts: dict[str, threading.Lock] = {}  # one session is taken up by one at a time

    def prompt(self, folder: SessionFolder, text: str, *, command: bool) -> PromptPut:
        """Give a session a prompt; its Claude is started where none runs.

        Raises:
            UsageError: the prompt is empty.
            SessionEnded: its Claude takes no more input, and ends when its turn has ended.
            MPMError: it could not be started, or takes no prompt.
        """
        check_prompt(text)
        name = folder.path.name
        with self._lock:
            starting = self._starts.setdefault(name, threading.Lock())
        with starting:
            held = self._followed(folder)
            try:
                turn = held.claude.ask(text, command=command)
            except BaseException:
                self._end_turn(name, held)
                raise
        threading.Thread(
            target=self._follow, args=(name, held, turn), name=f"web-{name[:8]}", daemon=True
        ).start()
        return PromptPut(uuid=turn.uuid, started=not held.claude.attached)

    def _followed(self, folder: SessionFolder) -> _Held:
        """Return a session as it is followed here, with one more turn counted."""
        name = folder.path.name
        with self._lock:  # so that it is not released for the end of the turn before
            held = self._held.get(name)
            if held is not None and held.claude.running:
                held.begin()
                return held
        if folder.closed.exists() and not folder.has_ended():
            raise SessionEnded(
                f"nobody followed session {name[:8]}, so its Claude finishes its turn and ends;"
                " send the prompt again then"
            )
        claude = self._take_up(folder, permissions="ask", partial=True)
        claude.start_or_raise()
        held = _Held(claude)
        with self._lock:
            held.begin()
            self._held[name] = held
        return held

    def _follow(self, name: str, held: _Held, turn: Turn) -> None:
        """Wait for the end of a turn, which may be the last one."""
        turn.wait()
        self._end_turn(name, held)

    def _end_turn(self, name: str, held: _Held) -> None:
        """Count one turn less, and release the session with the last one."""
        with self._lock:
            held.end()
            if held.open:
                return
            if self._held.get(name) is held:
                del self._held[name]
        _let_go(held.claude)

    def interrupt(self, folder: SessionFolder) -> None:
        """Ask Claude to stop what it does; the conversation goes on with the next prompt.

        Raises:
            SessionEnded: no Claude runs.
            MPMError: it cannot be reached.
        """
        self._check_runs(folder)
        claude = self._take_up(folder)
        with claude.reach():
            claude.interrupt()

    def answer(self, folder: SessionFolder, request: str, given: GivenAnswer) -> AnswerKept:
        """Answer a permission request; the first answer stands.

        Raises:
            QuestionOver: it has its answer, with who gave it, or Claude no longer asks.
            SessionEnded: no Claude runs.
            UsageError: the answer cannot be meant.
        """
        with suppress(KeyError):
            stands = read_answers(folder)[request]
            raise QuestionOver(f"this is answered already: {stands}")
        self._check_runs(folder)
        with self._take_up(folder).reach() as waiting:
            asked = next((each for each in waiting if each.request_id == request), None)
            if asked is None:
                stands_now = read_answers(folder).get(request)
                said = f"answered already: {stands_now}" if stands_now else "over"
                raise QuestionOver(f"this is {said}")
            _give(asked, given)
        kept = asked.answer
        if kept is None:
            raise QuestionOver("this is over: Claude no longer asks")
        return AnswerKept(decision=kept.decision, by=kept.by, at=kept.at, reason=kept.reason)

    def stop(self, folder: SessionFolder) -> str:
        """End the Claude of a session, whoever started it, and say how it ended.

        Raises:
            MPMError: it does not end.
        """
        self._store.catch_up(folder)
        state = read_status(folder, self._store.index).state
        how = f"{state.since} already"
        if state.runs:
            claude = self._take_up(folder)
            try:
                how = claude.end_session()
            finally:
                claude.stop()
            self._store.catch_up(folder)
        if end_what_is_left(folder, processes=state is State.LOST):
            how = "was ended"
        return how

    def _check_runs(self, folder: SessionFolder) -> None:
        self._store.catch_up(folder)
        state = read_status(folder, self._store.index).state
        if not state.runs:
            raise SessionEnded(f"session {folder.path.name[:8]} {state.since}")

    def let_go(self) -> None:
        """Release every session that is followed; each goes on with its turn."""
        with self._lock:
            held, self._held = list(self._held.values()), {}
        for each in held:
            _let_go(each.claude)


def _give(asked: Question, given: GivenAnswer) -> None:
    if given.decision == "deny":
        said = {"message": given.message} if given.message else {}
        asked.deny(**said, interrupt=given.interrupt, by=_BY)
        return
    if given.interrupt:
        raise UsageError("interrupt is for what is denied")
    if asked.choices and not given.choices and given.input is None:
        raise UsageError("Claude asks you to choose: give choices")
    if given.choices:
        asked.choose(*given.choices, by=_BY)
    else:
        asked.allow(given.input, reason=given.message, by=_BY)


def _let_go(claude: MPMOrchestrator) -> None:
    """Let Claude go on by itself, where it runs, and close what was open here."""
    try:
        if claude.running:
            claude.detach()
        else:
            claude.stop()
    except MPMError as error:
        _logger.warning("session %s: %s", claude.session_id, error)
