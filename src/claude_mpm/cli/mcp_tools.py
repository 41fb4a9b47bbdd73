"""What an MCP client may do with sessions: each method is one tool, and none waits for long."""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.cli.run import acknowledged, put_prompt
from claude_mpm.cli.session_arg import end_session, status_now, taken_up
from claude_mpm.conversation.question import input_of
from claude_mpm.engine.follow import SETTLED, settled
from claude_mpm.errors import (
    MPMError,
    QuestionOver,
    SessionEnded,
    StorageError,
    UnknownSession,
    UsageError,
)
from claude_mpm.journal.secrets import redactor_of
from claude_mpm.sessions.status import State
from claude_mpm.validation import NOT_JSON, check_prompt, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from claude_mpm.cli.app import App
    from claude_mpm.conversation.question import Question
    from claude_mpm.conversation.turn import Turn
    from claude_mpm.fleet.places import Place
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.orchestration.orchestrator import MPMOrchestrator
    from claude_mpm.redaction import Redactor
    from claude_mpm.sessions.status import Status
    from claude_mpm.sessions.store import Store

# Seconds that a tool takes at most. MCP clients give up on a call after about a minute.
LONGEST_CALL = 45.0
_LOOK = 1.0  # seconds after which a wait looks for a permission request
_MOST_TEXT = 100_000  # characters of one answer
_MOST_SESSIONS = 100  # in one list
_OWNER_KEY = "mcp"


class Rights(StrEnum):
    """What a client may do: only read, also steer the sessions it started, or steer all."""

    READ = "read"
    OWN = "own"
    ALL = "all"


@dataclass(frozen=True)
class Profile:
    """What the clients of one server may do.

    Args:
        rights: which sessions they see and steer. With OWN they see no others.
        places: where they may start sessions; the first is the default.
        roots: the folders in which, and below which, Claude may work.
        name: the owner of the sessions that they start; a server with the same name sees them.
    """

    rights: Rights
    places: tuple[Place, ...]
    roots: tuple[Path, ...]
    name: str


class SessionTools:
    """Starts, steers and reads sessions for the clients of one server.

    Every method may be called from several threads. An error that the client can mend is an
    `MPMError` with one line of text.

    Args:
        app: the settings and flags with which sessions are started.
        profile: what clients may do.
    """

    def __init__(self, app: App, profile: Profile) -> None:
        self._app = app
        self._profile = profile
        # The sessions that this server started and follows. The lock is taken by the threads that
        # run tools, and by `close`.
        self._live: dict[str, MPMOrchestrator] = {}
        self._lock = threading.Lock()
        self._ending = threading.Event()  # set by a handler of signals; looked at by waits

    @property
    def places(self) -> tuple[str, ...]:
        """The names of the places where sessions may be started."""
        return tuple(place.name for place in self._profile.places)

    def start(self, prompt: str, place: str = "", cwd: str = "", model: str = "") -> dict[str, Any]:
        """Start a session on a prompt and return its id; it goes on while you do other things.

        Args:
            prompt: what Claude is to do; it reaches the model as it is.
            place: where it runs, of the places that this server offers; empty for the first.
            cwd: the folder it works in, below the folders that this server offers; empty for the
                first of them, or for the place's own.
            model: the model; empty for the configured one.
        """
        self._check_may_start()
        check_prompt(prompt)
        chosen = self._offered_place(place)
        app = self._app.copy()
        app.choose_place(chosen)
        if "cwd" not in chosen.options:
            app.flags["cwd"] = str(self._offered_folder(cwd))
        elif cwd:
            raise UsageError(f"place {chosen.name!r} has a folder of its own; leave cwd empty")
        if model:
            app.flags["model"] = model
        options: dict[str, Any] = {"metadata": {_OWNER_KEY: self._profile.name}}
        options["start_timeout"] = min(app.settings.start_timeout, LONGEST_CALL / 2)
        if app.resolved.origin["permissions"] == "default":
            options["permissions"] = "ask"  # there is somebody to answer: the client
        claude = app.orchestrator(**options)
        claude.start_or_raise()
        with self._lock:
            self._live[claude.session_id] = claude
        try:
            turn = claude.ask(prompt)
        except MPMError:  # such as of a full disk; the client knows of no session
            self.stop(claude.session_id)
            raise
        acknowledged(app, claude.session_id, turn.uuid)  # before that, it would seem to be done
        return {"session": claude.session_id, "state": str(State.WORKING)}

    def send(self, session: str, prompt: str) -> dict[str, Any]:
        """Give a running session another prompt; it is answered after the one at work.

        Args:
            session: the session's id.
            prompt: what Claude is to do next.
        """
        check_prompt(prompt)
        with closing(self._app.store()) as store:
            folder = self._steered(store, session)
            if not status_now(store, folder).state.runs:
                raise SessionEnded(f"session {folder.path.name[:8]} has ended; start a new one")
        since = folder.journal.size()
        with self._lock:
            claude = self._live.get(folder.path.name)
        if claude is not None and claude.running:
            turn = claude.ask(prompt)
            state = acknowledged(self._app, claude.session_id, turn.uuid, since)
        else:
            _, state = put_prompt(self._app.copy(), folder, prompt)
        return {"session": folder.path.name, "state": state}

    def wait(self, session: str, seconds: float = 20.0) -> dict[str, Any]:
        """Wait until a session is idle, has ended or asks something, and return its last answer.

        Args:
            session: the session's id.
            seconds: how long to wait, 45 at most; `done` is false where that was not enough.
        """
        deadline = time.monotonic() + min(max(seconds, 0.0), LONGEST_CALL)
        with closing(self._app.store()) as store:
            folder = self._seen(store, session)
            status = settled(store, folder, deadline, look=_LOOK, ending=self._ending)
            redactor = redactor_of(folder, folder.read_meta())
            done = status.state in SETTLED
            return {
                "session": folder.path.name,
                "state": str(status.state),
                "done": done,
                "questions": [_request(each, redactor) for each in status.questions],
                "turn": _last_turn(store, folder, status, redactor) if done else None,
            }

    def read(
        self, session: str, offset: int = 0, most: int = 20_000, skip: int = 0
    ) -> dict[str, Any]:
        """Read what Claude said in a session, from where the last `read` stopped.

        Args:
            session: the session's id.
            offset: the `next_offset` of the last `read`; 0 for the beginning.
            most: characters after which the reading stops, 100,000 at most.
            skip: the `next_skip` of the last `read`; 0 for none.
        """
        most, skip = min(max(most, 1), _MOST_TEXT), max(skip, 0)
        with closing(self._app.store()) as store:
            folder = self._seen(store, session)
            redactor = redactor_of(folder, folder.read_meta())
            size = folder.journal.size()
            offset = min(max(offset, 0), size)
            lines, end = _text_from(store, folder, offset, max(most, skip + 1))
            text = redactor.text("\n".join(lines))
            is_cut = len(text) > skip + _MOST_TEXT  # the rest comes with the next reading
            return {
                "text": text[skip : skip + _MOST_TEXT],
                "next_offset": offset if is_cut else end,
                "next_skip": skip + _MOST_TEXT if is_cut else 0,
                "more": is_cut or end < size,
            }

    def questions(self, session: str = "") -> dict[str, Any]:
        """List the permission requests that sessions wait with.

        Args:
            session: of this session alone; empty for all.
        """
        waiting: list[Any] = []
        left_out: list[dict[str, str]] = []
        with closing(self._app.store()) as store:
            for folder in self._readable(store, session, left_out, ended=False):
                if folder.has_host():
                    redactor = redactor_of(folder, folder.read_meta())
                    asked = status_now(store, folder).questions
                    name = {"session": folder.path.name}
                    waiting += [{**name, **_request(each, redactor)} for each in asked]
        return {"questions": waiting, "left_out": left_out}

    def answer(
        self,
        session: str,
        question: str,
        decision: str,
        message: str = "",
        choices: list[str] | None = None,
    ) -> dict[str, Any]:
        """Answer a permission request; the first answer counts.

        Args:
            session: the session's id.
            question: the id of the request, as `questions` gives it.
            decision: "allow" or "deny".
            message: what Claude gets to know with a refusal.
            choices: what is chosen, where Claude asks for a choice.
        """
        if decision not in ("allow", "deny"):
            raise UsageError(f'invalid decision {decision!r}; it is "allow" or "deny"')
        with closing(self._app.store()) as store:
            folder = self._steered(store, session)
        with taken_up(self._app.copy(), folder).reach() as waiting:
            named = [each for each in waiting if each.request_id == question]
            if not named:
                raise QuestionOver(f"session {session[:8]} waits with no question {question!r}")
            by = f"mcp:{self._profile.name}"
            _answer(named[0], decision, message, choices or (), by=by)
            return {"session": folder.path.name, "answer": str(named[0].answer)}

    def stop(self, session: str) -> dict[str, Any]:
        """End the Claude of a session; its record stays.

        Args:
            session: the session's id.
        """
        with closing(self._app.store()) as store:
            folder = self._steered(store, session)
        with self._lock:
            claude = self._live.pop(folder.path.name, None)
        if claude is not None and claude.running:
            claude.stop()
        else:
            end_session(self._app, folder)
        return {"session": folder.path.name, "ended": folder.has_ended()}

    def sessions(self, ended: bool = False) -> dict[str, Any]:
        """List the sessions that run, the newest first.

        Args:
            ended: also those that have ended.
        """
        from claude_mpm.cli.session_view import read_row

        rows: list[Any] = []
        left_out: list[dict[str, str]] = []
        with closing(self._app.store()) as store:
            for folder in self._readable(store, "", left_out, ended=ended):
                rows.append(msgspec.to_builtins(read_row(store, folder)))
                if len(rows) == _MOST_SESSIONS:
                    break
        return {"sessions": rows, "left_out": left_out}

    def tickets(self, session: str = "") -> dict[str, Any]:
        """List the open tickets that Claude named.

        Args:
            session: of this session alone; empty for all.
        """
        found: list[Any] = []
        left_out: list[dict[str, str]] = []
        with closing(self._app.store()) as store:
            for folder in self._readable(store, session, left_out):
                redactor = redactor_of(folder, folder.read_meta())
                tickets = store.index.tickets(folder.path.name, "open")
                found += redactor.value(msgspec.to_builtins(tickets))
        return {"tickets": found, "left_out": left_out}

    def record(self, session: str) -> dict[str, Any]:
        """Return all that is known of a session, as `claude-mpm show --json` prints it."""
        from claude_mpm.cli.session_view import read_record

        with closing(self._app.store()) as store:
            return read_record(store, self._seen(store, session))

    def end_waits(self) -> None:
        """Have every `wait` return within a second; called by a handler of signals."""
        self._ending.set()

    def close(self) -> None:
        """Release the sessions that were started; each goes on for its linger time."""
        with self._lock:
            live, self._live = self._live, {}
        with ExitStack() as each:  # an error of one keeps none of the others
            for claude in live.values():
                each.callback(claude.detach)

    def _check_may_start(self) -> None:
        if self._profile.rights is Rights.READ:
            raise UsageError("this server only reads: it was started with --rights read")

    def _offered_place(self, name: str) -> Place:
        places = {place.name: place for place in self._profile.places}
        if not name:
            return self._profile.places[0]
        if name not in places:
            near = nearest(name, places)
            hint = f"did you mean {near!r}? " if near else ""
            raise UsageError(f"no place {name!r}; {hint}there are: {', '.join(places)}")
        return places[name]

    def _offered_folder(self, cwd: str) -> Path:
        """Return the folder that is meant, with links followed, if it lies below a root."""
        roots = self._profile.roots
        if "\0" in cwd:
            raise UsageError(f"{cwd!r} is no folder")
        folder = Path(os.path.realpath(roots[0] / cwd))
        if not any(folder == root or folder.is_relative_to(root) for root in roots):
            offered = ", ".join(map(str, roots))
            raise UsageError(f"{folder} is not below a folder of this server: {offered}")
        if not folder.is_dir():
            raise UsageError(f"{folder} is no folder")
        return folder

    def _readable(
        self, store: Store, session: str, left_out: list[dict[str, str]], *, ended: bool = True
    ) -> Iterator[SessionFolder]:
        """Yield a session, or all that can be read, with their journals read to the end.

        Args:
            session: empty for all.
            left_out: gets those of all that are damaged, and how.
            ended: whether sessions that have ended are among all.
        """
        if session:
            folder = self._seen(store, session)
            store.catch_up(folder)
            yield folder
            return
        for folder in self._visible(store):
            if not ended and folder.has_ended():
                continue
            try:
                store.catch_up(folder)
            except StorageError as error:
                left_out.append({"session": folder.path.name, "reason": str(error)})
            else:
                yield folder

    def _visible(self, store: Store) -> Iterator[SessionFolder]:
        return (folder for folder in store.sessions() if self._is_visible(folder))

    def _is_visible(self, folder: SessionFolder) -> bool:
        return self._profile.rights is not Rights.OWN or self._is_own(folder)

    def _is_own(self, folder: SessionFolder) -> bool:
        with self._lock:
            if folder.path.name in self._live:
                return True
        try:
            metadata = msgspec.json.decode(folder.metadata.read_bytes())
        except (OSError, *NOT_JSON):
            return False
        return isinstance(metadata, dict) and metadata.get(_OWNER_KEY) == self._profile.name

    def _seen(self, store: Store, session: str) -> SessionFolder:
        """Return a session that the client may see; another one does not exist for it."""
        folder = store.find(session)
        if not self._is_visible(folder):
            raise UnknownSession(f"no session {session!r} of this server; `list` shows them")
        return folder

    def _steered(self, store: Store, session: str) -> SessionFolder:
        """Return a session that the client may change."""
        self._check_may_start()
        return self._seen(store, session)


def _last_turn(
    store: Store, folder: SessionFolder, status: Status, redactor: Redactor
) -> dict[str, Any] | None:
    from claude_mpm.engine.follow import read_turn

    if not status.begun:
        return None
    turn: Turn = read_turn(folder, store, status, timeout=_LOOK)
    text = redactor.text(turn.text)
    return {
        "text": text[:_MOST_TEXT],
        "cut": len(text) > _MOST_TEXT,
        "outcome": str(turn.verdict.outcome),
        "reason": redactor.text(turn.verdict.reason),
        "cost_usd": turn.cost_usd,
        "tickets": [redactor.text(f"{each.type}: {each.title}") for each in turn.tickets],
    }


def _text_from(
    store: Store, folder: SessionFolder, offset: int, most: int
) -> tuple[list[str], int]:
    """Return lines of what Claude said, and where the next reading begins."""
    from claude_mpm.sessions.reader import read_events
    from claude_mpm.wire.text_lines import LineAssembler

    assembler = LineAssembler()
    lines: list[str] = []
    size, end = 0, offset
    for event in read_events(folder, store.index, since=offset):
        if size >= most and event.offset >= end:
            break
        for line in assembler.feed(event):
            lines.append(line)
            size += len(line) + 1
        end = max(end, event.end)
    return lines, end


def _request(asked: Any, redactor: Redactor) -> dict[str, Any]:
    return {
        "question": asked.request_id,
        "tool": str(asked.request.get("tool_name", "")),
        "input": redactor.value(input_of(asked.request)),
    }


def _answer(
    question: Question, decision: str, message: str, choices: Sequence[str], *, by: str
) -> None:
    if decision == "deny":
        question.deny(message or "The client says no.", by=by)
    elif question.choosing and not choices:
        raise UsageError(
            f"Claude asks to choose: give `choices`, one for each: {', '.join(question.choices)}"
        )
    elif choices:
        question.choose(*choices, by=by)
    else:
        question.allow(None, reason=message, by=by)
