"""The wire `stream-json`: one JSON object per line, in both directions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.validation import NOT_JSON
from claude_mpm.wire.events import (
    Assistant,
    CommandLifecycle,
    ControlCancel,
    ControlRequest,
    ControlResponse,
    Event,
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
    | CommandLifecycle
)
_VERBATIM = "client_composed"
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
    CommandLifecycle: "command_lifecycle",
}


_WITH_SUBTYPE = frozenset({"system", "result"})
# The types of all records, with those of transcripts.
_RECORDS = {
    *_KINDS.values(), "attachment", "queue-operation", "cost-state", "summary", "rate_limit_event",
    "conversation_reset", "file-history-snapshot", "last-prompt", "mode", "permission-mode",
}  # fmt: skip
_MAX_ATTEMPTS = 64  # failed attempts to decode an object in a broken line; each scans the line
_raw_decode = json.JSONDecoder().raw_decode


class StreamJson:
    """Claude Code's own protocol, as observed."""

    name = "stream-json"
    structured = True
    joins = False
    greets = True

    def decode(self, line: Line) -> list[Event]:
        """Return the events of a line: one; none if it is blank; several if objects share it.

        Never raises: an object of an unknown shape has the kind "unknown", a line without JSON
        the kind "not-json".
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
            if kind in _WITH_SUBTYPE and data.subtype:
                type_ = f"{kind}/{data.subtype}"
            events.append(Event(kind, data, line.offset, line.end, raw, type_))
        return events

    def prompt(self, text: str, uuid: str, *, command: bool = False) -> bytes:
        """Return the message that sends Claude a prompt.

        The field `client_composed`, which the official SDK sets for its `verbatim_prompts`, makes
        the prompt reach the model verbatim. Besides commands and files, it switches off keywords in
        the text; skills, `CLAUDE.md` and the rest of the context stay. (Observed: Claude Code
        2.1.281 to 2.1.332; with those before, agents and skills go, so they do not get it.)

        Args:
            text: the prompt, of any length.
            uuid: its identity; Claude acknowledges it and does not run it a second time.
            command: whether Claude Code treats it as typed: `/word` as a command, `@path` as a
                file.
        """
        message = {
            "type": "user",
            "message": {"role": "user", "content": text},
            "parent_tool_use_id": None,
            "session_id": "",
            "uuid": uuid,
        }
        return _line(message if command else {**message, _VERBATIM: True})

    def control(self, request_id: str, subtype: str, **fields: Any) -> bytes:
        """Return a control request to Claude, such as `initialize` or `interrupt`."""
        request = {"subtype": subtype, **fields}
        return _line({"type": "control_request", "request_id": request_id, "request": request})

    def answer(self, request_id: str, response: dict[str, Any]) -> bytes:
        """Return the answer to a control request of Claude's."""
        body = {"subtype": "success", "request_id": request_id, "response": response}
        return _line({"type": "control_response", "response": body})

    def refuse(self, request_id: str, reason: str) -> bytes:
        """Return the answer to a control request of Claude's that nobody here knows."""
        body = {"subtype": "error", "request_id": request_id, "error": reason}
        return _line({"type": "control_response", "response": body})


class SentPrompt(msgspec.Struct, frozen=True):
    """A prompt to Claude; the fields are what `StreamJson.prompt` takes."""

    uuid: str
    text: str
    command: bool


class SentInterrupt(msgspec.Struct, frozen=True):
    """A control request to Claude to end its turn, by the request's id."""

    request_id: str


class SentAnswer(msgspec.Struct, frozen=True):
    """The answer to a control request of Claude's, by the request's id."""

    request_id: str


def decode_sent(message: bytes) -> SentPrompt | SentInterrupt | SentAnswer | None:
    """Return what a message to Claude is, whoever wrote it; None where it is none of these."""
    try:
        fields = msgspec.json.decode(message)
    except NOT_JSON:
        return None
    match fields:
        case {"type": "user", "uuid": uuid} if uuid:
            content = fields.get("message")
            text = str(content.get("content", "")) if isinstance(content, dict) else ""
            return SentPrompt(str(uuid), text, command=not fields.get(_VERBATIM))
        case {"type": "control_request", "request": {"subtype": "interrupt"}}:
            return SentInterrupt(str(fields.get("request_id")))
        case {"type": "control_response", "response": {**answer}} if answer:
            return SentAnswer(str(answer.get("request_id")))
    return None


def _line(message: dict[str, Any]) -> bytes:
    return _encode(message) + b"\n"


def _decode_other(line: Line) -> list[Event]:
    """Decode a line that the typed decoder refused: unknown types, several objects, broken bytes.

    All damaged parts of the line are one event, after those of its intact records.
    """
    # Every byte that is not UTF-8 becomes one character, so that nothing is lost.
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
    """Yield the JSON objects of a line with their begin and end, and None for text in between.

    Two writers that share a file can leave two objects on one line, and a writer that was killed
    the beginning of one. An object within a broken object counts as an object of the line only if
    it is a record of Claude Code.
    """
    position = broken = 0
    attempts = _MAX_ATTEMPTS
    while 0 <= position < len(text):
        value, end = _value_at(text, position)
        if isinstance(value, dict) and (position == broken or _is_record(value)):
            if text[broken:position].strip():
                yield broken, position, None
            yield position, end, value
            position = broken = end + len(text[end:]) - len(text[end:].lstrip())
            continue
        # A complete value contains no record of Claude's; one that breaks off may.
        attempts -= not end
        position = text.find('{"', end or position + 1) if attempts else -1
    if text[broken:].strip():
        yield broken, len(text), None


def _value_at(text: str, position: int) -> tuple[Any, int]:
    """Return the JSON value at a position, and its end; the end is 0 if there is none."""
    try:
        value, end = _raw_decode(text, position)
        without_lone_surrogates(value)  # raises for what is nested too deeply to be a record
    except (ValueError, RecursionError):
        return None, 0
    return value, end


def _is_record(value: dict[str, Any]) -> bool:
    return value.get("type") in _RECORDS


def without_lone_surrogates(value: Any) -> Any:
    """Return a JSON value whose strings have no lone surrogates.

    JavaScript writes them where a string was cut within a character of two UTF-16 units, such as
    an emoji; they cannot be encoded as UTF-8.
    """
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [without_lone_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {
            without_lone_surrogates(key): without_lone_surrogates(item)
            for key, item in value.items()
        }
    return value


def _decode_piece(fields: dict[str, Any], raw: bytes, place: int, end: int) -> Event:
    """Return the event of one object; `place` is its offset in the journal."""
    data: Any
    try:
        data = _decode_known(raw)
    except NOT_JSON:
        if b"\\u" in raw or not raw.isascii():
            fields = without_lone_surrogates(fields)
        try:
            data = _decode_known(json.dumps(fields))
        except (*NOT_JSON, ValueError):
            data = Unknown(fields)
    type_, subtype = fields.get("type"), fields.get("subtype")
    name = f"{type_}/{subtype}" if isinstance(subtype, str) and subtype else str(type_)
    return Event(_KINDS.get(type(data), "unknown"), data, place, end, raw, name)
