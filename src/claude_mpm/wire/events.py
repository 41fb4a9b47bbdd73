"""Events, and the typed messages of Claude Code that they carry.

The shapes are those that `claude` 2.1 writes with `--output-format stream-json`; every field
that does not identify the type may be missing, because older and newer releases differ.
"""

from __future__ import annotations

from typing import Any

import msgspec

_MILLISECONDS, _LATEST = 1e11, 1e15  # what is more is no number of seconds, or of milliseconds
# `gc=False`: decoded values contain no cycles, so the garbage collector need not visit them.


class Block(msgspec.Struct, frozen=True, gc=False):
    """One content block of a message; `type` determines which fields are set."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None
    tool_use_id: str | None = None
    content: msgspec.Raw = msgspec.Raw()
    is_error: bool | None = None


class Message(msgspec.Struct, frozen=True, gc=False):
    """The model's or the user's message inside an event."""

    content: str | list[Block] = ""
    id: str | None = None
    role: str | None = None
    model: str | None = None

    @property
    def blocks(self) -> list[Block]:
        """The content as blocks; a bare string is one text block."""
        if isinstance(self.content, str):
            return [Block(type="text", text=self.content)]
        return self.content


class Assistant(msgspec.Struct, frozen=True, gc=False, tag="assistant"):
    """The assistant's text, or its call of a tool; one line for each content block."""

    message: Message = Message()
    session_id: str | None = None
    parent_tool_use_id: str | None = None
    subagent_type: str | None = None
    isSidechain: bool | None = None  # noqa: N815 -- the name in Claude's own transcripts
    is_api_error_message: bool | None = None
    api_error: str | None = None
    local_command_source: str | None = None  # of what a command of Claude Code's has answered
    aborted: bool | None = None
    timestamp: str | None = None
    uuid: str | None = None


class User(msgspec.Struct, frozen=True, gc=False, tag="user"):
    """A tool's result, an echo of a prompt, or a message of Claude Code to the model."""

    message: Message = Message()
    session_id: str | None = None
    parent_tool_use_id: str | None = None
    isReplay: bool | None = None  # noqa: N815 -- the name on the wire
    isSidechain: bool | None = None  # noqa: N815
    tool_result_meta: list[Any] | None = None
    timestamp: str | None = None
    uuid: str | None = None


class Origin(msgspec.Struct, frozen=True, gc=False):
    """What started a turn without a prompt: a finished background task, or a peer."""

    kind: str = ""


class Result(msgspec.Struct, frozen=True, gc=False, tag="result"):
    """The end of one turn. `subtype` "success" alone proves nothing: see `verdict.judge`."""

    subtype: str = ""
    is_error: bool | None = None
    result: str | None = None
    structured_output: Any = None
    errors: list[Any] | None = None
    session_id: str | None = None
    terminal_reason: str | None = None
    api_error_status: int | None = None
    total_cost_usd: float | None = None
    num_turns: int | None = None
    duration_ms: float | None = None
    usage: dict[str, Any] | None = None
    modelUsage: Any = None  # noqa: N815 -- the name on the wire; of each model, since the beginning
    user_message_uuid: str | None = None
    user_message_uuids: list[str] | None = None
    origin: Origin | None = None
    permission_denials: list[Any] | None = None
    local_command: str | None = None
    result_index: int | None = None
    queued_turn_count: int | None = None
    resume_reason: str | None = None
    uuid: str | None = None


def prompts_of(result: Result) -> tuple[str, ...]:
    """Return the uuids of the prompts that a result answers."""
    if result.user_message_uuids:
        return tuple(result.user_message_uuids)
    return (result.user_message_uuid,) if result.user_message_uuid else ()


class System(msgspec.Struct, frozen=True, gc=False, tag="system"):
    """A message of Claude Code about itself; `subtype` is its kind."""

    subtype: str = ""
    session_id: str | None = None
    model: str | None = None
    cwd: str | None = None
    permissionMode: str | None = None  # noqa: N815 -- the name on the wire
    agents: list[Any] | None = None
    tools: list[Any] | None = None
    claude_code_version: str | None = None
    state: str | None = None
    status: str | None = None
    task_id: str | None = None
    task_type: str | None = None
    tool_use_id: str | None = None
    description: str | None = None
    subagent_type: str | None = None
    is_backgrounded: bool | None = None
    prompt: str | None = None
    summary: str | None = None
    patch: dict[str, Any] | None = None
    tasks: list[Any] | None = None
    usage: dict[str, Any] | None = None
    attempt: int | None = None
    max_retries: int | None = None
    retry_delay_ms: float | None = None
    error_status: int | None = None
    error: Any = None
    tool_name: str | None = None
    message: Any = None
    content: Any = None
    reason: Any = None
    key: str | None = None
    text: str | None = None
    uuid: str | None = None


class StreamEvent(msgspec.Struct, frozen=True, gc=False, tag="stream_event"):
    """A piece of a streamed answer, as the model's API sent it."""

    event: dict[str, Any] = {}
    session_id: str | None = None
    parent_tool_use_id: str | None = None


class ControlRequest(msgspec.Struct, frozen=True, gc=False, tag="control_request"):
    """A request of Claude to its controller, such as a permission request."""

    request_id: str
    request: dict[str, Any] = {}

    @property
    def subtype(self) -> str:
        """What is requested, by Claude's name for it; empty where that is missing."""
        return str(self.request.get("subtype") or "")

    @property
    def asks_permission(self) -> bool:
        """Whether it asks whether a tool may be used."""
        return self.subtype == "can_use_tool"


class ControlResponse(msgspec.Struct, frozen=True, gc=False, tag="control_response"):
    """Claude's answer to a control request."""

    response: dict[str, Any] = {}


class ControlCancel(msgspec.Struct, frozen=True, gc=False, tag="control_cancel_request"):
    """Claude withdraws its request."""

    request_id: str


class CommandLifecycle(msgspec.Struct, frozen=True, gc=False, tag="command_lifecycle"):
    """The state of a prompt: queued, started, completed, cancelled, discarded, refused."""

    command_uuid: str
    state: str
    reason: Any = None


class PlainText(msgspec.Struct, frozen=True, gc=False):
    """A line of Claude's text on the wire `plain-text`; several if they were read together.

    Args:
        text: the whole text.
        lines: the same text, line by line.
    """

    text: str
    lines: list[str]


class Unknown(msgspec.Struct, frozen=True, gc=False):
    """A message of an unknown type, or of an unexpected shape."""

    fields: dict[str, Any]


class NotJson(msgspec.Struct, frozen=True, gc=False):
    """A line of a JSON journal that is not a JSON object."""

    text: str


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event, with its position in the journal.

    Args:
        kind: the class of `data`, as one word: "assistant", "system", "result", "text",
            "unknown", "not-json", …; for events of processors: "ticket", "delegation", "turn",
            "cost".
        data: the typed content.
        offset: of the first byte of its line in the journal.
        end: the offset after its line; a cursor there has passed it.
        raw: the line without the newline, or its part of a line with several objects; empty for
            events of processors.
        type: the wire's own name, with the subtype, if any, after a slash.
    """

    kind: str
    data: Any
    offset: int
    end: int
    raw: bytes = b""
    type: str = ""


class RateLimit(msgspec.Struct, frozen=True, gc=False):
    """What Claude reports of its rate limit.

    Args:
        until: when the limit is lifted, in seconds since the epoch; None where nothing is refused,
            or no moment is named.
    """

    until: float | None


def rate_limit(event: Event) -> RateLimit | None:
    """Return what an event reports of the rate limit; None where it reports nothing of it."""
    if event.kind != "unknown" or event.type != "rate_limit_event":
        return None
    info = event.data.fields.get("rate_limit_info")
    if not isinstance(info, dict) or info.get("status") != "rejected":
        return RateLimit(None)
    until = info.get("resetsAt")
    if not isinstance(until, int | float) or not 0 <= until <= _LATEST:
        return RateLimit(None)
    return RateLimit(until / 1000 if until > _MILLISECONDS else until)
