"""What the assistant says, as the lines that a person would see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from claude_mpm.wire.events import Event

SYNTHETIC_MODEL = "<synthetic>"
# The kinds of event that can have lines.
SAYING = frozenset({"assistant", "text", "stream_event"})


def said(event: Event) -> str | None:
    """Return the text that the assistant says to the user in this event, if it says any.

    Subagents talk to the assistant, not to the user, and an API error is Claude Code's own text.
    """
    if event.kind != "assistant" or event.data.parent_tool_use_id or event.data.isSidechain:
        return None
    message = event.data.message
    if message.model == SYNTHETIC_MODEL:
        return None
    content = message.content
    if isinstance(content, str):
        return content or None
    if len(content) == 1:  # as Claude Code writes it: a line for each block
        block = content[0]
        return (block.text or None) if block.type == "text" else None
    texts = [block.text for block in content if block.type == "text" and block.text]
    return "\n".join(texts) if texts else None


def is_error(event: Event) -> bool:
    """Tell whether Claude Code reports an API error in the assistant's place."""
    return event.kind == "assistant" and bool(event.data.is_api_error_message)


def reported_error(event: Event) -> str | None:
    """Return the text of an API error that Claude Code reports in the assistant's place."""
    if not is_error(event):
        return None
    return "\n".join(block.text for block in event.data.message.blocks if block.text)


class LineAssembler:
    """Turns events into finished lines of text.

    Where Claude sends its answer in pieces (`--include-partial-messages`), a line is given out as
    soon as its newline has come, and the whole block that follows adds only what is missing.
    """

    def __init__(self) -> None:
        self._given: list[str] = []
        self._tail = ""

    def feed(self, event: Event) -> list[str]:
        """Return the lines that `event` finishes, without newlines."""
        if event.kind == "text":
            lines: list[str] = event.data.lines
            return lines
        if event.kind == "stream_event":
            return self._feed_piece(event.data.event, event.data.parent_tool_use_id)
        text = said(event)
        if not text:
            return []
        if self._given or self._tail:
            text = self._missing(text)
        return text.removesuffix("\n").split("\n") if text else []

    def _feed_piece(self, piece: dict[str, Any], parent: str | None) -> list[str]:
        if parent:
            return []
        if piece.get("type") == "message_start":
            self._reset()
        delta = piece.get("delta")
        if not isinstance(delta, dict) or delta.get("type") != "text_delta":
            return []
        *lines, self._tail = (self._tail + str(delta.get("text", ""))).split("\n")
        self._given += lines
        return lines

    def _missing(self, text: str) -> str:
        """Return what was not given out in pieces of a whole block."""
        given = "".join(f"{line}\n" for line in self._given)
        self._reset()
        return text[len(given) :] if text.startswith(given) else text

    def _reset(self) -> None:
        self._given, self._tail = [], ""
