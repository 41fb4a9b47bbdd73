"""What the assistant says, as the lines that a person would see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.validation import NOT_JSON

if TYPE_CHECKING:
    from claude_mpm.wire.events import Assistant, Block, Event, Result

SYNTHETIC_MODEL = "<synthetic>"
# The kinds of event that can have lines, or tell whether a result has some.
SAYING = frozenset({"assistant", "text", "stream_event", "command_lifecycle", "system", "result"})


def said(event: Event) -> str | None:
    """Return the text that the assistant says to the user in this event, if it says any.

    Subagents talk to the assistant, not to the user, and an API error is Claude Code's own text.
    """
    if event.kind != "assistant" or event.data.parent_tool_use_id or event.data.isSidechain:
        return None
    if is_no_answer(event.data):
        return None
    content = event.data.message.content
    if isinstance(content, str):
        return content or None
    if len(content) == 1:  # as Claude Code writes it: a line for each block
        block = content[0]
        return (block.text or None) if block.type == "text" else None
    texts = [block.text for block in content if block.type == "text" and block.text]
    return "\n".join(texts) if texts else None


def is_no_answer(said: Assistant) -> bool:
    """Return whether Claude Code speaks in the model's place, and not to answer the prompt.

    What a command of its own or a forked skill has answered comes in the model's place, too, and
    is marked. (Observed: Claude Code 2.1.330.)
    """
    if said.is_api_error_message:
        return True
    return said.message.model == SYNTHETIC_MODEL and said.local_command_source is None


def notice(event: Event) -> str | None:
    """Return what Claude Code tells the user of itself in this event, such as an overridden hook.

    It tells of such a hook twice: with `informational`, and with a `notification` for its screen.
    (Observed: Claude Code 2.1.330.)
    """
    if event.type == "system/informational":
        return event.data.content if isinstance(event.data.content, str) else None
    if event.type == "system/notification" and event.data.key == "stop-hook-block-cap":
        text: str | None = event.data.text
        return text
    return None


def result_text(block: Block) -> str:
    """Return what a tool gave back, as text."""
    try:
        content = msgspec.json.decode(block.content) if block.content else ""
    except NOT_JSON:  # it was passed over unread, and its texts may be no UTF-8
        content = bytes(block.content).decode("utf-8", "replace")
    if isinstance(content, list):
        parts = [part.get("text", "") for part in content if isinstance(part, dict)]
        return "\n".join(str(part) for part in parts)
    return str(content or "")


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

    An answer that no message has is taken from the turn's result: a value for a schema, and
    whatever else Claude Code answers by itself. It is given out once, and only where the turn's
    beginning was read, so that nothing is said twice.
    """

    def __init__(self) -> None:
        self._given: list[str] = []
        self._tail = ""
        self._acknowledges = False  # Claude Code tells when it begins with a prompt
        self._silent = False  # a turn has begun and said nothing yet
        self._spoke = False  # there was a message or a call since the last result
        self._last = ""  # that was said since the last result

    def feed(self, event: Event) -> list[str]:
        """Return the lines that `event` finishes, without newlines."""
        if event.kind == "text":
            lines: list[str] = event.data.lines
            return lines
        if event.kind == "stream_event":
            return self._feed_piece(event.data.event, event.data.parent_tool_use_id)
        if event.kind == "result":
            return self._feed_result(event.data)
        if event.kind != "assistant":
            self._note_beginning(event)
            return []
        self._spoke = True
        text = said(event)
        if not text:
            return []
        self._silent, self._last = False, text
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

    def _note_beginning(self, event: Event) -> None:
        """Note where a turn begins; in releases that acknowledge no prompt, that is `init`."""
        if event.kind == "command_lifecycle":
            self._acknowledges = True
            self._silent |= event.data.state == "started"
        else:
            self._silent |= event.type == "system/init" and not self._acknowledges

    def _feed_result(self, result: Result) -> list[str]:
        """Return the answer that only the result has."""
        text = "" if result.is_error else (result.result or "")
        has_value = result.structured_output is not None and self._spoke
        missing = (self._silent or has_value) and text.strip() != self._last.strip()
        self._silent = self._spoke = False
        self._last = ""
        return text.removesuffix("\n").split("\n") if missing else []

    def _missing(self, text: str) -> str:
        """Return what was not given out in pieces of a whole block."""
        given = "".join(f"{line}\n" for line in self._given)
        self._reset()
        return text[len(given) :] if text.startswith(given) else text

    def _reset(self) -> None:
        self._given, self._tail = [], ""
