"""The wire `transcript`: Claude Code's own transcripts of its conversations, read as a journal.

They are in `$CLAUDE_CONFIG_DIR/projects/<folder>/<session>.jsonl`. Their `user` and `assistant`
lines carry the same messages as the `stream-json` wire, and `system` lines mark the end of turns;
the rest is bookkeeping of Claude Code and decoded as events of an unknown kind. (Observed: Claude
Code 2.1.330.)
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.validation import NOT_JSON
from claude_mpm.wire.events import Origin  # noqa: TC001 -- msgspec reads it
from claude_mpm.wire.stream_json import StreamJson, without_lone_surrogates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_mpm.wire.events import Assistant, Event
    from claude_mpm.wire.framing import Line


class MessageInfo(msgspec.Struct, frozen=True):
    """What a transcript has about a message, besides its content."""

    id: str = ""
    stop_reason: str | None = None
    usage: dict[str, Any] = {}


class TranscriptEntry(msgspec.Struct, frozen=True, rename="camel"):
    """The fields of a transcript's line that the `stream-json` wire does not have.

    Args:
        prompt_source: how a prompt was entered: "typed", "queued", "system"; else empty.
        origin: what started a turn.
        agent_id: the subagent whose line it is.
        attribution_agent: the name of that subagent.
        duration_ms: of the turn that ends with this line.
        pending_background_agent_count: subagents that still run at the end of the turn.
        operation, reason: what happened to a message in the queue.
        total_cost: the costs of the conversation so far, in US dollars.
    """

    uuid: str = ""
    session_id: str = ""
    prompt_source: str = ""
    origin: Origin | None = None
    is_sidechain: bool = False
    is_api_error_message: bool = False
    is_aborted_mid_stream: bool = False
    api_error_status: int | None = None
    agent_id: str = ""
    attribution_agent: str = ""
    message: MessageInfo = MessageInfo()
    duration_ms: float = 0.0
    pending_background_agent_count: int = 0
    operation: str = ""
    reason: str = ""
    content: Any = None
    total_cost: float | None = msgspec.field(default=None, name="totalCostUSD")


class _AgentResult(msgspec.Struct, frozen=True, rename="camel"):
    """What a tool's result is made of, where the tool has run a subagent."""

    agent_id: str
    content: list[dict[str, Any]]


class _OfAgent(msgspec.Struct, frozen=True, rename="camel"):
    """A line with the result of a subagent."""

    tool_use_result: _AgentResult


_decode = msgspec.json.Decoder(TranscriptEntry, strict=False).decode
_decode_agent = msgspec.json.Decoder(_OfAgent).decode


class Transcript(StreamJson):
    """Reads Claude Code's transcripts; nothing is ever written to them."""

    name = "transcript"
    greets = False

    def decode_all(self, lines: Sequence[Line]) -> list[Event]:
        """Return the events of several lines, as the `stream-json` wire does."""
        return [_normalized(event) for event in super().decode_all(lines)]


def entry_of(event: Event) -> TranscriptEntry:
    """Return the further fields of an event's line; all empty if it has another shape."""
    try:
        return _decode(event.raw)
    except NOT_JSON:
        return _entry_with_surrogates(event.raw)


def agent_report(event: Event) -> str:
    """Return a subagent's report, without the notes to the model that a tool's result adds to it.

    It is empty where the line has no such report. (Observed: Claude Code 2.1.211 to 2.1.332.)
    """
    if b'"toolUseResult"' not in event.raw:
        return ""
    try:
        parts = _decode_agent(event.raw).tool_use_result.content
    except NOT_JSON:
        return ""
    return "\n".join(str(part.get("text") or "") for part in parts)


def _entry_with_surrogates(line: bytes) -> TranscriptEntry:
    """Decode a line that may contain lone surrogates."""
    try:
        return _decode(json.dumps(without_lone_surrogates(json.loads(line))))
    except (ValueError, *NOT_JSON):
        return TranscriptEntry()


def _normalized(event: Event) -> Event:
    """Return an assistant's event with the fields that the `stream-json` wire has."""
    if event.kind != "assistant":
        return event
    entry = entry_of(event)
    if not (entry.is_sidechain or entry.is_api_error_message or entry.is_aborted_mid_stream):
        return event
    data: Assistant = msgspec.structs.replace(
        event.data,
        parent_tool_use_id=event.data.parent_tool_use_id or entry.agent_id or None,
        subagent_type=event.data.subagent_type or entry.attribution_agent or None,
        is_api_error_message=entry.is_api_error_message or None,
        aborted=entry.is_aborted_mid_stream or None,
    )
    return msgspec.structs.replace(event, data=data)
