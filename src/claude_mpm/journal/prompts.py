"""The content of a session's inbox: prompts, interrupts, and answers to permission requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.journal.inbox import Inbox
from claude_mpm.validation import NOT_JSON
from claude_mpm.wire.stream_json import VERBATIM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claude_mpm.journal.layout import SessionFolder


class Prompt(msgspec.Struct, frozen=True):
    """One prompt of an inbox.

    Args:
        name: of its message in the inbox; empty if the inbox does not have it.
        uuid: its identity on the wire.
        text: the prompt itself.
        command: whether Claude Code treats it as typed.
    """

    name: str = ""
    uuid: str = ""
    text: str = ""
    command: bool = False


def prompts(folder: SessionFolder) -> list[Prompt]:
    """Return every prompt with a uuid in a session's inbox, oldest first."""
    return [prompt for name, message in _messages(folder) if (prompt := _prompt(name, message))]


def last_prompt(folder: SessionFolder) -> Prompt | None:
    """Return the newest prompt in a session's inbox."""
    newest_first = _messages(folder, newest_first=True)
    return next((p for name, message in newest_first if (p := _prompt(name, message))), None)


def interrupts(folder: SessionFolder) -> dict[str, str]:
    """Return the names of the messages that interrupt a turn, by the request's id."""
    requests = ((name, m) for name, m in _messages(folder) if m["type"] == "control_request")
    return {
        str(m.get("request_id")): name
        for name, m in requests
        if _object(m, "request").get("subtype") == "interrupt"
    }


def answered_requests(folder: SessionFolder) -> frozenset[str]:
    """Return the ids of Claude's requests that were answered."""
    return frozenset(answer_messages(folder))


def answer_messages(folder: SessionFolder) -> dict[str, str]:
    """Return the names of the messages that answer Claude's requests, by the request's id."""
    answers = (
        (name, _object(message, "response"))
        for name, message in _messages(folder)
        if message["type"] == "control_response"
    )
    return {str(answer.get("request_id")): name for name, answer in answers if answer}


def _messages(
    folder: SessionFolder, *, newest_first: bool = False
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the names and messages that are JSON objects with a type, as on `stream-json`."""
    inbox = Inbox(folder)
    for name in reversed(inbox.names()) if newest_first else inbox.names():
        try:
            message = msgspec.json.decode(inbox.read(name))
        except NOT_JSON:
            continue
        if isinstance(message, dict) and "type" in message:
            yield name, message


def _prompt(name: str, message: dict[str, Any]) -> Prompt | None:
    if message["type"] != "user" or not message.get("uuid"):
        return None
    text = str(_object(message, "message").get("content", ""))
    return Prompt(name, str(message["uuid"]), text, command=not message.get(VERBATIM))


def _object(message: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an object within a message; an empty one if there is none."""
    value = message.get(name)
    return value if isinstance(value, dict) else {}
