"""What the HTTP API takes and gives."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from claude_mpm.records import Delegation, Ticket  # noqa: TC001 -- msgspec reads them


class SessionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One session in the list.

    Args:
        session: its name.
        state: what it does, as `claude-mpm ps` says it; "damaged" where its record cannot be read.
        until: when the rate limit is lifted that it waits for, in seconds since the epoch.
        needs: what it needs a person for: "permission", "failed", "stalled", "limit", "budget";
            empty for nothing.
        reason: one line to that.
        permission_requests: how many wait for an answer.
        turns: how many have ended.
        cost_usd: in all.
        cost_today_usd: of the turns that ended since midnight, where the server is.
        tickets: how many are open.
        delegations: how many are at work.
        created_at: seconds since the epoch.
        changed_at: when something was written last, in seconds since the epoch.
        outcome: of the last turn; empty where there was none.
        prompt: the last one, cut short.
    """

    session: str
    state: str
    until: float | None = None
    needs: Literal["", "permission", "failed", "stalled", "limit", "budget"] = ""
    reason: str = ""
    permission_requests: int = 0
    turns: int = 0
    cost_usd: float = 0.0
    cost_today_usd: float = 0.0
    tickets: int = 0
    delegations: int = 0
    created_at: float = 0.0
    changed_at: float = 0.0
    orchestrator: str = ""
    environment: str = ""
    cwd: str = ""
    outcome: str = ""
    prompt: str = ""


class SessionList(msgspec.Struct, frozen=True, kw_only=True):
    """All sessions, the one started last first.

    Args:
        complete: whether all were read already since the server began.
    """

    sessions: list[SessionRow]
    complete: bool


class PlaceView(msgspec.Struct, frozen=True, kw_only=True):
    """A named place in which other machines may have sessions.

    Args:
        seen_at: when it answered last, in seconds since the epoch; None where it never has.
        reason: why it did not answer when it was asked last; empty where it has.
        more: how many sessions there are that are not listed.
    """

    place: str
    seen_at: float | None
    reason: str
    more: int


class ElsewhereRow(msgspec.Struct, frozen=True, kw_only=True):
    """A session that another machine has started in a named place, as it was seen last.

    Args:
        session: its name there.
        state: what it did then.
        seen_at: when that was, in seconds since the epoch.
        created_at: when it was started; None where the place does not say.
        cost_usd: in all; None where it is not known.
        refusal: why it cannot be followed from here; empty where it can.
    """

    place: str
    session: str
    state: str
    seen_at: float
    created_at: float | None
    cwd: str
    cost_usd: float | None
    tickets: int
    permission_requests: int
    prompt: str
    refusal: str


class ElsewhereList(msgspec.Struct, frozen=True, kw_only=True):
    """Sessions of other machines.

    Args:
        looking: whether the places are being asked now.
    """

    places: list[PlaceView]
    sessions: list[ElsewhereRow]
    looking: bool


class PermissionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What Claude waits for an answer to.

    Args:
        request: Claude's name for it.
        asked_at: seconds since the epoch; None where the journal does not say.
        input: what the tool is to get, whole.
        choices: what Claude lets a person choose, as it stands in `input`.
        suggestions: what Claude proposes, so that it need not ask again.
    """

    session: str
    request: str
    asked_at: float | None
    tool: str
    input: dict[str, Any]
    choices: list[dict[str, Any]] = []
    description: str = ""
    suggestions: list[Any] = []


class TurnView(msgspec.Struct, frozen=True, kw_only=True):
    """A turn that has ended.

    Args:
        offset: of its result in the journal, in bytes.
        end: where the next line begins.
        duration: seconds.
        ended_at: seconds since the epoch; None where the journal does not say.
    """

    offset: int
    end: int
    outcome: str
    reason: str
    evidence: tuple[str, ...]
    cost_usd: float
    tokens: int
    duration: float
    ended_at: float | None
    origin: str


class SessionDetail(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of a session beside its journal.

    Args:
        journal_bytes: how long the journal is.
        turn_begins: where the turn that runs begins in the journal; None where none runs.
        undelivered: the prompts that Claude never heard of.
        stderr: the end of Claude's standard error.
    """

    row: SessionRow
    journal_bytes: int
    turn_begins: int | None
    wire: str
    claude_session_id: str
    options: dict[str, Any]
    runs_on: dict[str, str]
    exit_status: int | None
    turns: list[TurnView]
    tickets: list[Ticket]
    delegations: list[Delegation]
    permission_requests: list[PermissionRequest]
    undelivered: list[str]
    stderr: str


class EventView(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a journal.

    Args:
        offset: its first byte.
        end: the first byte after it: the cursor to go on at.
        kind: what it is: "assistant", "user", "result", "system", "stream_event", "text", …
        type: Claude Code's own name, with the subtype after a slash.
        data: the line as Claude Code wrote it; `{"text": …}` where it is no JSON.
        cut: whether `data` is the beginning alone; `/journal` has the line.
    """

    offset: int
    end: int
    kind: str
    type: str
    data: Any
    cut: bool = False


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some lines of a journal, in their order.

    Args:
        begin: where the first of them begins: `before` for those in front.
        end: where the next line begins: `since` for those behind.
        size: how long the journal is, in bytes.
        stream_since: where to go on with the stream, so that what is said in pieces comes whole:
            `end`, or where the message in the making begins.
    """

    events: list[EventView]
    begin: int
    end: int
    size: int
    stream_since: int


class PromptView(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt that the session was given.

    Args:
        uuid: its identity in the journal.
        text: its beginning, where it is very long.
        command: whether Claude Code takes it as typed.
    """

    uuid: str
    text: str
    command: bool


class PromptList(msgspec.Struct, frozen=True, kw_only=True):
    """The last prompts of a session, in the order in which they were given."""

    prompts: list[PromptView]


class Login(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The code of a one-time link."""

    code: str


class LoggedIn(msgspec.Struct, frozen=True, kw_only=True):
    """What a browser keeps beside the cookie, to send it in the header `X-Claude-MPM`."""

    key: str
    role: str


class Whoami(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, and what is asked."""

    name: str
    role: str
    version: str


class NewPrompt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A prompt for a session.

    Args:
        command: whether Claude Code takes it as typed: `/word` as a command, `@path` as a file.
    """

    text: str
    command: bool = False


class PromptPut(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt that is in the session's inbox.

    Args:
        uuid: its identity in the journal.
        started: whether Claude had to be started for it.
    """

    uuid: str
    started: bool


class GivenAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The answer to a permission request.

    Args:
        message: what Claude is told with a refusal, or why.
        input: what the tool gets in place of its input.
        choices: what is chosen, one for each choice.
        interrupt: whether the turn ends with the refusal.
    """

    decision: Literal["allow", "deny"]
    message: str = ""
    input: dict[str, Any] | None = None
    choices: list[str] = []
    interrupt: bool = False


class AnswerKept(msgspec.Struct, frozen=True, kw_only=True):
    """The answer that stands."""

    decision: str
    by: str
    at: float
    reason: str


class TicketState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What becomes of a ticket."""

    state: Literal["open", "closed"]


class TicketList(msgspec.Struct, frozen=True, kw_only=True):
    """Tickets, in the order in which they were said."""

    tickets: list[Ticket]


class BatchRow(msgspec.Struct, frozen=True, kw_only=True):
    """One batch in the list.

    Args:
        state: "running", "done", "left" where nobody runs it before its end, or "damaged".
        halted: why the last runner left.
        places: as they were named, with how many at once: "build:4".
        ended: how many tasks have ended.
        counts: how many tasks do what: "running", "waiting", "passed", "failed", …
    """

    name: str
    state: str
    halted: str = ""
    created_at: float = 0.0
    places: tuple[str, ...] = ()
    tasks: int = 0
    ended: int = 0
    counts: dict[str, int] = {}
    cost_usd: float = 0.0
    budget_usd: float | None = None


class BatchList(msgspec.Struct, frozen=True, kw_only=True):
    """All batches, the newest first."""

    batches: list[BatchRow]


class TaskRow(msgspec.Struct, frozen=True, kw_only=True):
    """One task of a batch.

    Args:
        prompt: its beginning.
        session: of the last attempt; empty where there was none.
        seconds: that the last attempt took; None where it has not ended.
        check: the exit status of its check; None where none was run to its end.
        branch: with what was changed; empty where there is none.
    """

    id: str
    state: str
    prompt: str
    session: str
    place: str
    attempts: int
    reason: str
    cost_usd: float
    seconds: float | None
    check: int | None
    branch: str


class BatchDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A batch with its tasks, in the order of the task file."""

    batch: BatchRow
    tasks: list[TaskRow]


class PermissionRequestList(msgspec.Struct, frozen=True, kw_only=True):
    """Permission requests that wait, of all sessions that run."""

    permission_requests: list[PermissionRequest]


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """That something was done, in one line."""

    message: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why something was not done.

    Args:
        error: its kind.
        message: what happened, and what to do.
    """

    error: str
    message: str
