"""The transcripts that Claude Code keeps of its conversations, read as one more journal.

They lie in `$CLAUDE_CONFIG_DIR/projects/<folder>/<session>.jsonl`. Their `user` and `assistant`
lines carry the same messages as the `stream-json` wire, and where a turn ends, `system` lines tell;
the rest is book-keeping of Claude Code and comes as events of an unknown kind. (Observed: Claude
Code 2.1.330.)
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.validation import NOT_JSON
from claude_mpm.wire.events import Origin  # noqa: TC001 -- msgspec reads it
from claude_mpm.wire.stream_json import StreamJson, without_halves

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_mpm.wire.events import Assistant, Event
    from claude_mpm.wire.framing import Line


class Answer(msgspec.Struct, frozen=True):
    """What a transcript tells of a message, beside its content."""

    id: str = ""
    stop_reason: str | None = None
    usage: dict[str, Any] = {}


class Entry(msgspec.Struct, frozen=True, rename="camel"):
    """What a transcript's line says beside what the same line has on the `stream-json` wire.

    Args:
        prompt_source: how a prompt came: "typed", "queued", "system"; empty for all else.
        origin: who started a turn.
        agent_id: the subagent whose line it is.
        attribution_agent: what that is called.
        duration_ms: of the turn that ends here.
        pending_background_agent_count: subagents that go on behind the turn that ends here.
        operation, reason: what became of a message that waited for its turn.
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
    message: Answer = Answer()
    duration_ms: float = 0.0
    pending_background_agent_count: int = 0
    operation: str = ""
    reason: str = ""
    content: Any = None
    total_cost: float | None = msgspec.field(default=None, name="totalCostUSD")


_decode = msgspec.json.Decoder(Entry, strict=False).decode


class Transcript(StreamJson):
    """Reads Claude Code's own record; nothing is ever written to it."""

    name = "transcript"
    greets = False

    def decode_all(self, lines: Sequence[Line]) -> list[Event]:
        """Return the events of several lines, as the `stream-json` wire does."""
        return [_completed(event) for event in super().decode_all(lines)]


def entry_of(event: Event) -> Entry:
    """Return what else the line of an event says; nothing where it is of another shape."""
    try:
        return _decode(event.raw)
    except NOT_JSON:
        return _entry_with_halves(event.raw)


def _entry_with_halves(line: bytes) -> Entry:
    """Read a line that may hold half a character."""
    try:
        return _decode(json.dumps(without_halves(json.loads(line))))
    except (ValueError, *NOT_JSON):
        return Entry()


def _completed(event: Event) -> Event:
    """Say of an assistant's line in the words of `stream-json` what a transcript has other for."""
    if event.kind != "assistant":
        return event
    entry = entry_of(event)
    if not (entry.is_sidechain or entry.is_api_error_message or entry.is_aborted_mid_stream):
        return event
    said: Assistant = msgspec.structs.replace(
        event.data,
        parent_tool_use_id=event.data.parent_tool_use_id or entry.agent_id or None,
        subagent_type=event.data.subagent_type or entry.attribution_agent or None,
        is_api_error_message=entry.is_api_error_message or None,
        aborted=entry.is_aborted_mid_stream or None,
    )
    return msgspec.structs.replace(event, data=said)
