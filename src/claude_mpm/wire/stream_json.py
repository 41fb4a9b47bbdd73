"""The wire `stream-json`: one JSON object a line, in both directions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.checks import NOT_JSON
from claude_mpm.wire.events import (
    Assistant,
    ControlCancel,
    ControlRequest,
    ControlResponse,
    Event,
    Lifecycle,
    NotJson,
    Result,
    StreamEvent,
    System,
    Unknown,
    User,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_mpm.wire.framing import Line

_KNOWN = (
    Assistant
    | User
    | System
    | Result
    | StreamEvent
    | ControlRequest
    | ControlResponse
    | ControlCancel
    | Lifecycle
)
_decode_known = msgspec.json.Decoder(_KNOWN, strict=False).decode
_encode = msgspec.json.Encoder().encode
_KINDS: dict[type, str] = {
    Assistant: "assistant",
    User: "user",
    System: "system",
    Result: "result",
    StreamEvent: "stream_event",
    ControlRequest: "control_request",
    ControlResponse: "control_response",
    ControlCancel: "control_cancel_request",
    Lifecycle: "command_lifecycle",
}


class StreamJson:
    """Claude Code's own protocol; the source of every fact is the CLI's observed behaviour."""

    name = "stream-json"
    structured = True
    joins = False
    greets = True

    def decode(self, line: Line) -> list[Event]:
        """Return the events of one line: one, none for a blank line, several where lines are glued.

        Never raises: what is not understood comes as "unknown", what is no JSON as "not-json".
        """
        return self.decode_all((line,))

    def decode_all(self, lines: Sequence[Line]) -> list[Event]:
        """Return the events of several lines, as `decode` does of each."""
        events: list[Event] = []
        for line in lines:
            raw = line.data
            try:
                data = _decode_known(raw)
            except NOT_JSON:
                events += _decode_other(line)
                continue
            kind = type_ = _KINDS[type(data)]
            if (kind == "system" or kind == "result") and data.subtype:
                type_ = f"{kind}/{data.subtype}"
            events.append(Event(kind, data, line.offset, line.end, raw, type_))
        return events

    def prompt(self, text: str, uuid: str) -> bytes:
        """Return the message that gives Claude a prompt.

        Args:
            text: the prompt, of any length.
            uuid: its identity; Claude acknowledges it and does not run it a second time.
        """
        return _line(
            {
                "type": "user",
                "message": {"role": "user", "content": text},
                "parent_tool_use_id": None,
                "session_id": "",
                "uuid": uuid,
            }
        )

    def control(self, request_id: str, subtype: str, **fields: Any) -> bytes:
        """Return a control request of ours, such as `initialize` or `interrupt`."""
        request = {"subtype": subtype, **fields}
        return _line({"type": "control_request", "request_id": request_id, "request": request})

    def answer(self, request_id: str, response: dict[str, Any]) -> bytes:
        """Return our answer to a control request of Claude's."""
        body = {"subtype": "success", "request_id": request_id, "response": response}
        return _line({"type": "control_response", "response": body})


def _line(message: dict[str, Any]) -> bytes:
    return _encode(message) + b"\n"


def _event(kind: str, data: Any, line: Line, type_: str) -> Event:
    return Event(kind, data, line.offset, line.end, line.data, type_)


def _decode_other(line: Line) -> list[Event]:
    """Decode what the typed decoder refused: unknown types, glued objects, no JSON at all."""
    text = line.data.decode("utf-8", "replace").strip()
    if not text:
        return []
    pieces = _split(text)
    if pieces is None:
        return [_event("not-json", NotJson(text), line, "not-json")]
    return [_decode_piece(piece, fields, line) for piece, fields in pieces]


def _split(text: str) -> list[tuple[str, dict[str, Any]]] | None:
    """Return the JSON objects that `text` consists of; None where it is anything else.

    Two writers that share a file can leave two objects on one line.
    """
    decoder = json.JSONDecoder()
    found: list[tuple[str, dict[str, Any]]] = []
    position = 0
    while position < len(text):
        try:
            value, end = decoder.raw_decode(text, position)
            piece = text[position:end]
            if "\\u" in piece:
                value = without_halves(value)
                piece = json.dumps(value)
        except (ValueError, RecursionError):
            return None
        if not isinstance(value, dict):
            return None
        found.append((piece, value))
        position = end + len(text[end:]) - len(text[end:].lstrip())
    return found


def without_halves(value: Any) -> Any:
    """Return a JSON value whose texts have no half of a character.

    JavaScript writes them where a text was cut within a character outside its 16 bits, such as an
    emoji; nothing else can read or keep them.
    """
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [without_halves(each) for each in value]
    if isinstance(value, dict):
        return {without_halves(key): without_halves(each) for key, each in value.items()}
    return value


def _decode_piece(piece: str, fields: dict[str, Any], line: Line) -> Event:
    type_ = fields.get("type")
    subtype = fields.get("subtype")
    name = f"{type_}/{subtype}" if isinstance(subtype, str) and subtype else str(type_)
    try:
        data = _decode_known(piece)
    except (msgspec.DecodeError, RecursionError):
        return _event("unknown", Unknown(fields), line, name)
    return _event(_KINDS[type(data)], data, line, name)
