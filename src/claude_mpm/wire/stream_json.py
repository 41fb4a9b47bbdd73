"""The wire `stream-json`: one JSON object a line, in both directions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.validation import NOT_JSON
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
    from collections.abc import Iterator, Sequence

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
VERBATIM = "client_composed"
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


# What else a transcript has records of, beside the kinds above.
_RECORDS = {
    *_KINDS.values(), "attachment", "queue-operation", "cost-state", "summary", "rate_limit_event",
    "conversation_reset", "file-history-snapshot", "last-prompt", "mode", "permission-mode",
}  # fmt: skip
_MOST_TRIES = 64  # beginnings of objects in a broken line that come to nothing; each costs a pass
_raw_decode = json.JSONDecoder().raw_decode


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

    def prompt(self, text: str, uuid: str, *, command: bool = False) -> bytes:
        """Return the message that gives Claude a prompt.

        A prompt reaches the model verbatim by the mark `client_composed`, which the official SDK
        sets for its `verbatim_prompts`. Beside commands and files it switches off keywords in the
        text; the skills, `CLAUDE.md` and the rest of the context stay. (Observed: Claude Code
        2.1.281 to 2.1.332.)

        Args:
            text: the prompt, of any length.
            uuid: its identity; Claude acknowledges it and does not run it a second time.
            command: whether Claude Code is to take it as typed: `/word` as a command, `@path` as
                a file.
        """
        message = {
            "type": "user",
            "message": {"role": "user", "content": text},
            "parent_tool_use_id": None,
            "session_id": "",
            "uuid": uuid,
        }
        return _line(message if command else {**message, VERBATIM: True})

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


def _decode_other(line: Line) -> list[Event]:
    """Decode what the typed decoder refused: unknown types, glued objects, broken bytes.

    What is damaged on a line is one event, behind those of the whole records beside it.
    """
    # So each byte that is no UTF-8 is a character of its own, and nothing is lost.
    text = line.data.decode("utf-8", "surrogateescape")
    pieces = list(_pieces(text))
    is_damaged = any(value is None for _, _, value in pieces)
    events: list[Event] = []
    damaged = []
    for begin, end, value in pieces:
        if value is None or (is_damaged and not isinstance(value.get("type"), str)):
            damaged.append(text[begin:end])
        else:
            raw = line.data if len(pieces) == 1 else _bytes(text[begin:end])
            place = line.offset + (len(_bytes(text[:begin])) if events else 0)
            events.append(_decode_piece(value, raw, place, line.end))
    if damaged:
        raw = _bytes("".join(damaged)) if events else line.data
        data = NotJson(raw.decode("utf-8", "replace").strip())
        events.append(Event("not-json", data, line.offset, line.end, raw, "not-json"))
    return events


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _pieces(text: str) -> Iterator[tuple[int, int, dict[str, Any] | None]]:
    """Yield the JSON objects of a line, each with its place, and None for what is between them.

    Two writers that share a file can leave two objects on one line, and one that was killed the
    beginning of one. What stands within a broken object is taken for an object of its own only
    where it is a record of Claude Code's.
    """
    position = broken = 0
    tries = _MOST_TRIES
    while 0 <= position < len(text):
        value, end = _value_at(text, position)
        if isinstance(value, dict) and (position == broken or _is_record(value)):
            if text[broken:position].strip():
                yield broken, position, None
            yield position, end, value
            position = broken = end + len(text[end:]) - len(text[end:].lstrip())
            continue
        # Whole values have none of Claude's records in them; one that broke off may have.
        tries -= not end
        position = text.find('{"', end or position + 1) if tries else -1
    if text[broken:].strip():
        yield broken, len(text), None


def _value_at(text: str, position: int) -> tuple[Any, int]:
    """Return the JSON value that begins here, and its end; that is 0 where there is none."""
    try:
        value, end = _raw_decode(text, position)
        without_halves(value)  # what is nested too deeply for it is no record
    except (ValueError, RecursionError):
        return None, 0
    return value, end


def _is_record(value: dict[str, Any]) -> bool:
    return value.get("type") in _RECORDS


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


def _decode_piece(fields: dict[str, Any], raw: bytes, place: int, end: int) -> Event:
    """Return the event of one object, which begins at a place in the journal."""
    data: Any
    try:
        data = _decode_known(raw)
    except NOT_JSON:
        if b"\\u" in raw or not raw.isascii():
            fields = without_halves(fields)
        try:
            data = _decode_known(json.dumps(fields))
        except (*NOT_JSON, ValueError):
            data = Unknown(fields)
    type_, subtype = fields.get("type"), fields.get("subtype")
    name = f"{type_}/{subtype}" if isinstance(subtype, str) and subtype else str(type_)
    return Event(_KINDS.get(type(data), "unknown"), data, place, end, raw, name)
