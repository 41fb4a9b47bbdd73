"""What an editor is shown of a session: the events of its journal as updates of ACP version 1.

(https://agentclientprotocol.com/protocol/prompt-turn)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import acp
import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from acp.schema import PlanEntry

    from claude_mpm.wire.events import Assistant, Block, Event, User

Kind = Literal["read", "edit", "delete", "move", "search", "execute", "think", "fetch", "other"]
_KINDS: dict[str, Kind] = {
    "Read": "read", "NotebookRead": "read", "Edit": "edit", "MultiEdit": "edit", "Write": "edit",
    "NotebookEdit": "edit", "Grep": "search", "Glob": "search", "LS": "search", "Bash": "execute",
    "WebFetch": "fetch", "WebSearch": "fetch", "Agent": "think", "Task": "think",
}  # fmt: skip
_STATES: dict[str, Literal["pending", "in_progress", "completed"]] = {
    "pending": "pending", "in_progress": "in_progress", "completed": "completed",
}  # fmt: skip
_TITLE = 200  # characters
_OUTPUT = 50_000  # characters of what a tool gave
_MOST_STREAMED = 1000  # messages of which it is known that they were shown in pieces


class UpdateFold:
    """Makes the updates of one session from its events, in the order of the journal.

    The same events make the same updates, live and when a session is loaded. It is used by one
    thread at a time.

    Args:
        prompts: the text of each prompt by its uuid, to show when Claude begins with it; None
            for what the editor shows already.
    """

    def __init__(self, prompts: Mapping[str, str] | None = None) -> None:
        self._prompts = prompts or {}
        self._streaming = ""  # the id of the message that comes in pieces
        self._streamed: dict[str, None] = {}

    def observe(self, event: Event) -> list[Any]:
        """Return the updates that an event makes."""
        return list(self._updates(event))

    def _updates(self, event: Event) -> Iterator[Any]:
        match event.kind:
            case "command_lifecycle" if event.data.state == "started":
                text = self._prompts.get(event.data.command_uuid)
                if text:
                    yield acp.update_user_message_text(text)
            case "stream_event" if not event.data.parent_tool_use_id:
                yield from self._piece(event.data.event)
            case "assistant":
                yield from self._message(event.data)
            case "user":
                yield from _results(event.data)

    def _piece(self, piece: dict[str, Any]) -> Iterator[Any]:
        """Take a piece of an answer in the making, as the model's API sends it."""
        if piece.get("type") == "message_start":
            message = piece.get("message")
            self._streaming = str(message.get("id")) if isinstance(message, dict) else ""
        delta = piece.get("delta")
        if piece.get("type") != "content_block_delta" or not isinstance(delta, dict):
            return
        text, thought = delta.get("text"), delta.get("thinking")
        if (isinstance(text, str) or isinstance(thought, str)) and self._streaming:
            if len(self._streamed) >= _MOST_STREAMED:
                del self._streamed[next(iter(self._streamed))]
            self._streamed[self._streaming] = None
        if isinstance(text, str) and text:
            yield acp.update_agent_message_text(text)
        elif isinstance(thought, str) and thought:
            yield acp.update_agent_thought_text(thought)

    def _message(self, message: Assistant) -> Iterator[Any]:
        shown = message.message.id in self._streamed
        for block in message.message.blocks:
            if block.type == "text" and block.text and not message.parent_tool_use_id:
                if not shown:
                    yield acp.update_agent_message_text(block.text)
            elif block.type == "thinking" and block.thinking and not message.parent_tool_use_id:
                if not shown:
                    yield acp.update_agent_thought_text(block.thinking)
            elif block.type == "tool_use" and block.id:
                yield from _call(block)


def _call(block: Block) -> Iterator[Any]:
    given = block.input if isinstance(block.input, dict) else {}
    entries = _plan(given) if block.name == "TodoWrite" else []
    if entries:
        yield acp.update_plan(entries)
        return
    yield acp.start_tool_call(
        block.id or "",
        title_of(block.name or "a tool", given),
        kind=_KINDS.get(block.name or "", "other"),
        status="in_progress",
        content=changes_of(block.name or "", given),
        raw_input=given,
    )


def title_of(tool: str, given: dict[str, Any]) -> str:
    """Return a line for a use of a tool: its name, and what it is about."""
    for name in ("command", "file_path", "pattern", "url", "query", "description", "prompt"):
        if isinstance(given.get(name), str) and given[name]:
            line = f"{tool}: {' '.join(given[name].split())}"
            return line if len(line) <= _TITLE else f"{line[: _TITLE - 1]}…"
    return tool


def changes_of(tool: str, given: dict[str, Any]) -> list[Any] | None:
    """Return the change of a file that a tool makes, as a diff; None if it makes none."""
    path = given.get("file_path")
    if not isinstance(path, str):
        return None
    old, new = given.get("old_string"), given.get("new_string")
    if tool == "Write" and isinstance(given.get("content"), str):
        return [acp.tool_diff_content(path, given["content"])]
    if tool == "Edit" and isinstance(old, str) and isinstance(new, str):
        return [acp.tool_diff_content(path, new, old)]
    return None


def _plan(given: dict[str, Any]) -> list[PlanEntry]:
    todos = given.get("todos")
    return [
        acp.plan_entry(
            str(todo.get("content", "")), status=_STATES.get(str(todo.get("status")), "pending")
        )
        for todo in (todos if isinstance(todos, list) else [])
        if isinstance(todo, dict)
    ]


def _results(message: User) -> Iterator[Any]:
    for block in message.message.blocks:
        if block.type == "tool_result" and block.tool_use_id:
            text = _text_of(block.content)
            content = [acp.tool_content(acp.text_block(text))] if text else None
            yield acp.update_tool_call(
                block.tool_use_id,
                status="failed" if block.is_error else "completed",
                content=content,
            )


def _text_of(raw: msgspec.Raw) -> str:
    """Return the text of what a tool gave; what is no text is left out."""
    content = msgspec.json.decode(raw) if bytes(raw) else ""
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        content = "\n".join(part for part in parts if isinstance(part, str))
    return content[:_OUTPUT] if isinstance(content, str) else ""
