"""The assistant's text, as the lines that a user sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.validation import NOT_JSON

if TYPE_CHECKING:
    from claude_mpm.wire.events import Assistant, Block, Event, Result

SYNTHETIC_MODEL = "<synthetic>"
# The kinds of event that can contain lines, or show whether a result does.
TEXT_KINDS = frozenset(
    {"assistant", "text", "stream_event", "command_lifecycle", "system", "result"}
)


def assistant_text(event: Event) -> str | None:
    """Return the assistant's text to the user in this event; None if there is none.

    The text of subagents is for the assistant, and an API error is Claude Code's own text.
    """
    if event.kind != "assistant":
        return None
    said: Assistant = event.data
    content = said.message.content
    if isinstance(content, str):
        text = content
    elif len(content) == 1:  # the usual case: Claude Code writes one line per block
        block = content[0]
        text = (block.text or "") if block.type == "text" else ""
    else:
        text = "\n".join([block.text for block in content if block.type == "text" and block.text])
    if not text or said.parent_tool_use_id or said.isSidechain or is_claude_code_text(said):
        return None
    return text


def is_claude_code_text(data: Assistant) -> bool:
    """Return whether a message is Claude Code's own, and not an answer to the prompt.

    The answer of a command or of a forked skill has the same model name, and is marked.
    (Observed: Claude Code 2.1.330.)
    """
    if data.is_api_error_message:
        return True
    return data.message.model == SYNTHETIC_MODEL and data.local_command_source is None


def notice(event: Event) -> str | None:
    """Return a notice of Claude Code to the user, such as of an overridden hook; None if none.

    It reports such a hook twice: as `informational`, and as a `notification` for its screen.
    (Observed: Claude Code 2.1.330.)
    """
    if event.type == "system/informational":
        return event.data.content if isinstance(event.data.content, str) else None
    if event.type == "system/notification" and event.data.key == "stop-hook-block-cap":
        text: str | None = event.data.text
        return text
    return None


def result_text(block: Block) -> str:
    """Return the result of a tool, as text."""
    try:
        content = msgspec.json.decode(block.content) if block.content else ""
    except NOT_JSON:  # it was not decoded before, and may not be UTF-8
        content = bytes(block.content).decode("utf-8", "replace")
    if isinstance(content, list):
        parts = [part.get("text", "") for part in content if isinstance(part, dict)]
        return "\n".join(str(part) for part in parts)
    return str(content or "")


def is_error(event: Event) -> bool:
    """Return whether Claude Code reports an API error instead of an answer."""
    return event.kind == "assistant" and bool(event.data.is_api_error_message)


def reported_error(event: Event) -> str | None:
    """Return the text of an API error that Claude Code reports instead of an answer."""
    if not is_error(event):
        return None
    return "\n".join(block.text for block in event.data.message.blocks if block.text)


class LineAssembler:
    """Turns events into finished lines of text.

    If Claude streams its answer (`--include-partial-messages`), a line is returned as soon as its
    newline was received, and the complete block that follows adds only what is missing.

    An answer that no message contains is taken from the turn's result: a value for a schema, and
    other answers of Claude Code itself. It is returned once, and only if the beginning of the turn
    was read, so that nothing is returned twice.
    """

    __slots__ = ("_acknowledges", "_last", "_silent", "_spoke", "_streamed", "_tail")

    def __init__(self) -> None:
        self._streamed: list[str] = []  # lines of the current block that were returned
        self._tail = ""
        self._acknowledges = False  # Claude Code reports when it begins with a prompt
        self._silent = False  # a turn has begun, without text so far
        self._spoke = False  # there was a message or a call since the last result
        self._last = ""  # the last text since the last result

    def feed(self, event: Event) -> list[str]:
        """Return the lines that `event` finishes, without newlines."""
        kind = event.kind
        if kind == "assistant":
            self._spoke = True
            text = assistant_text(event)
            return self._feed_text(text) if text else []
        if kind == "text":
            lines: list[str] = event.data.lines
            return lines
        if kind == "stream_event":
            return self._feed_piece(event.data.event, event.data.parent_tool_use_id)
        if kind == "result":
            return self._feed_result(event.data)
        self._detect_turn_start(event)
        return []

    def _feed_text(self, text: str) -> list[str]:
        """Return the lines of a message that were not returned before."""
        self._silent, self._last = False, text
        if self._streamed or self._tail:
            text = self._not_streamed(text)
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
        self._streamed += lines
        return lines

    def _detect_turn_start(self, event: Event) -> None:
        """Detect the start of a turn; in releases that acknowledge no prompt, that is `init`."""
        if event.kind == "command_lifecycle":
            self._acknowledges = True
            self._silent |= event.data.state == "started"
        else:
            self._silent |= event.type == "system/init" and not self._acknowledges

    def _feed_result(self, result: Result) -> list[str]:
        """Return the lines of an answer that only the result contains."""
        text = "" if result.is_error else (result.result or "")
        has_value = result.structured_output is not None and self._spoke
        missing = (self._silent or has_value) and text.strip() != self._last.strip()
        self._silent = self._spoke = False
        self._last = ""
        return text.removesuffix("\n").split("\n") if missing else []

    def _not_streamed(self, text: str) -> str:
        """Return the part of a complete block that was not returned before."""
        streamed = "".join(f"{line}\n" for line in self._streamed)
        self._reset()
        return text[len(streamed) :] if text.startswith(streamed) else text

    def _reset(self) -> None:
        self._streamed, self._tail = [], ""
