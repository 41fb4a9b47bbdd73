"""The content of a session's inbox: prompts, interrupts, and answers to permission requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from claude_mpm.journal.inbox import Inbox
from claude_mpm.wire.stream_json import SentAnswer, SentInterrupt, SentPrompt, decode_sent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claude_mpm.journal.layout import SessionFolder

    Sent = SentPrompt | SentInterrupt | SentAnswer


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
    return [*_prompts(_messages(folder))]


def last_prompt(folder: SessionFolder) -> Prompt | None:
    """Return the newest prompt in a session's inbox."""
    return next(_prompts(_messages(folder, newest_first=True)), None)


def interrupts(folder: SessionFolder) -> dict[str, str]:
    """Return the names of the messages that interrupt a turn, by the request's id."""
    sent = _messages(folder)
    return {each.request_id: name for name, each in sent if isinstance(each, SentInterrupt)}


def answered_requests(folder: SessionFolder) -> frozenset[str]:
    """Return the ids of Claude's requests that were answered."""
    return frozenset(answer_messages(folder))


def answer_messages(folder: SessionFolder) -> dict[str, str]:
    """Return the names of the messages that answer Claude's requests, by the request's id."""
    sent = _messages(folder)
    return {each.request_id: name for name, each in sent if isinstance(each, SentAnswer)}


def _prompts(messages: Iterator[tuple[str, Sent]]) -> Iterator[Prompt]:
    for name, sent in messages:
        if isinstance(sent, SentPrompt):
            yield Prompt(name, sent.uuid, sent.text, sent.command)


def _messages(folder: SessionFolder, *, newest_first: bool = False) -> Iterator[tuple[str, Sent]]:
    """Yield the names of messages in the inbox and what each is, as on the wire `stream-json`."""
    inbox = Inbox(folder)
    for name in reversed(inbox.names()) if newest_first else inbox.names():
        if (sent := decode_sent(inbox.read(name))) is not None:
            yield name, sent
