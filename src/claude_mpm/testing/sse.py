"""A scripted message in the two forms of the Messages API: a stream of events, and one object.

The events and their order are those of the public documentation of streaming messages.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from claude_mpm.testing.script import (
    Cut,
    Fail,
    Part,
    Say,
    ScriptedMessage,
    Stall,
    Stop,
    Think,
    ToolCall,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ERROR_TYPES = {
    400: ("invalid_request_error", "The request is not valid"),
    401: ("authentication_error", "invalid x-api-key"),
    403: ("permission_error", "Your API key does not have permission"),
    404: ("not_found_error", "Not found"),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your rate limit"),
    500: ("api_error", "Internal server error"),
    529: ("overloaded_error", "Overloaded"),
}
_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True)
class Pause:
    """Seconds of silence in a stream."""

    seconds: float


@dataclass(frozen=True)
class Reply:
    """A message as it is sent: with its ids, for the model that was asked for."""

    id: str
    model: str
    message: ScriptedMessage
    tool_use_ids: tuple[str, ...] = ()


Frame: TypeAlias = bytes | Pause | Stall | Cut


def error_body(failure: Fail) -> bytes:
    """Return the JSON body of an HTTP error."""
    return json.dumps(_error(failure)).encode()


def message_body(reply: Reply) -> bytes:
    """Return the message as one JSON object, for a request that wants no stream."""
    ids = iter(reply.tool_use_ids)
    parts = reply.message.parts
    content = [block for part in parts if (block := _whole_block(part, ids)) is not None]
    return json.dumps(_envelope(reply, content, _stop_reason(reply.message))).encode()


def frames(reply: Reply) -> Iterator[Frame]:
    """Yield the message as a stream: encoded events, and what happens between them."""
    yield _event("message_start", message=_envelope(reply, [], None))
    blocks = _Blocks(iter(reply.tool_use_ids))
    for part in reply.message.parts:
        if isinstance(part, Fail):
            yield _event(**_error(part))
            return
        yield from blocks.play(part)
    yield from blocks.close()
    delta = {"stop_reason": _stop_reason(reply.message), "stop_sequence": None}
    yield _event("message_delta", delta=delta, usage=_usage(reply.message))
    yield _event("message_stop")


class _Blocks:
    """The content blocks of one stream; a block stays open until it is known what follows."""

    def __init__(self, tool_use_ids: Iterator[str]) -> None:
        self._ids = tool_use_ids
        self._index = -1
        self._open = ""  # the type of the open block
        self._stalled = False

    def play(self, part: Part) -> Iterator[Frame]:
        if isinstance(part, Stall | Cut):
            self._stalled = isinstance(part, Stall)
            yield part
        elif isinstance(part, Say):
            if not (self._stalled and self._open == "text"):
                yield from self._start({"type": "text", "text": ""})
            yield from self._paced(part, "text_delta", "text")
        elif isinstance(part, Think):
            yield from self._start({"type": "thinking", "thinking": "", "signature": ""})
            yield from self._paced(part, "thinking_delta", "thinking")
            yield self._delta("signature_delta", signature="c2NyaXB0ZWQ=")
        elif isinstance(part, ToolCall):
            block = _call_block(part, next(self._ids))
            yield from self._start({**block, "input": {}})
            yield self._delta("input_json_delta", partial_json=json.dumps(block["input"]))

    def close(self) -> Iterator[Frame]:
        if self._open:
            self._open = ""
            yield _event("content_block_stop", index=self._index)

    def _start(self, block: Mapping[str, Any]) -> Iterator[Frame]:
        yield from self.close()
        self._index += 1
        self._open, self._stalled = block["type"], False
        yield _event("content_block_start", index=self._index, content_block=block)

    def _paced(self, part: Say | Think, kind: str, key: str) -> Iterator[Frame]:
        size = part.chunk or max(1, len(part.text))
        for start in range(0, len(part.text), size):
            if part.delay:
                yield Pause(part.delay)
            yield self._delta(kind, **{key: part.text[start : start + size]})

    def _delta(self, kind: str, **fields: str) -> bytes:
        delta = {"type": kind, **fields}
        return _event("content_block_delta", index=self._index, delta=delta)


def _event(type: str, **fields: Any) -> bytes:
    return f"event: {type}\ndata: {json.dumps({'type': type, **fields})}\n\n".encode()


def _error(failure: Fail) -> dict[str, Any]:
    kind, text = _ERROR_TYPES.get(failure.status, ("api_error", f"Error {failure.status}"))
    return {"type": "error", "error": {"type": kind, "message": failure.message or text}}


def _envelope(
    reply: Reply, content: list[dict[str, Any]], stop_reason: str | None
) -> dict[str, Any]:
    return {
        "id": reply.id,
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": _usage(reply.message) if stop_reason else {**_usage(reply.message), **_FIRST},
    }


_FIRST = {"output_tokens": 1}


def _whole_block(part: Part, ids: Iterator[str]) -> dict[str, Any] | None:
    if isinstance(part, Say):
        return {"type": "text", "text": part.text}
    if isinstance(part, Think):
        return {"type": "thinking", "thinking": part.text, "signature": "c2NyaXB0ZWQ="}
    if isinstance(part, ToolCall):
        return _call_block(part, next(ids))
    return None


def _call_block(call: ToolCall, tool_use_id: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": tool_use_id, "name": call.tool, "input": dict(call.input)}


def _stop_reason(message: ScriptedMessage) -> str:
    for part in message.parts:
        if isinstance(part, Stop):
            return part.reason
    return "tool_use" if message.calls else "end_turn"


def _usage(message: ScriptedMessage) -> dict[str, int]:
    for part in message.parts:
        if isinstance(part, Usage):
            return asdict(part)
    texts = (part.text for part in message.parts if isinstance(part, Say | Think))
    inputs = (json.dumps(dict(call.input)) for call in message.calls)
    characters = sum(len(text) for text in (*texts, *inputs))
    return asdict(Usage(output_tokens=1 + characters // _CHARACTERS_PER_TOKEN))
