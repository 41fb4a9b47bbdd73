"""What an editor is shown of a session: the events of its journal as updates of ACP version 1.

(https://agentclientprotocol.com/protocol/prompt-turn)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import acp
import msgspec
from acp.schema import Cost, CurrentModeUpdate, SessionMode, SessionModeState, UsageUpdate

from claude_mpm.printable import printable, shortened
from claude_mpm.processors.validated_numbers import USAGE, amount, count
from claude_mpm.sessions.state import STARTED
from claude_mpm.wire.events import Assistant, CommandLifecycle, Result, StreamEvent, System, User

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from acp.schema import PlanEntry

    from claude_mpm.wire.events import Block, Event

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
_MOST_COMMANDS = 1000  # uses of the shell without an end yet; then the oldest is forgotten
_SHELL = "Bash"
_EXIT = re.compile(r"Exit code (\d{1,3})(?:\n|$)")
# Claude's permission modes that an editor may choose, with what Claude does in each.
_MODES = {
    "default": ("Ask", "Claude asks before it changes files or runs commands"),
    "acceptEdits": ("Accept edits", "Claude changes files without asking, and asks for the rest"),
    "plan": ("Plan", "Claude reads and plans, and changes nothing"),
    "dontAsk": ("Don't ask", "Claude does what the rules allow, and is refused the rest"),
}
# These are listed where the session was started with one, or is in one.
_FURTHER_MODES = {
    "auto": ("Auto", "Claude Code decides what it has to ask for"),
    "bypassPermissions": ("Bypass permissions", "Claude asks for nothing"),
}
_SAME_MODE = {"manual": "default"}  # another name of it, in the settings


class PromptBegun(NamedTuple):
    """Stands for an update: Claude has begun with a prompt whose text the fold does not have.

    Args:
        uuid: of the prompt.
    """

    uuid: str


class UpdateFold:
    """Makes the updates of one session from its events, in the order of the journal.

    The same events make the same updates, live and when a session is loaded. It is used by one
    thread at a time.

    Args:
        prompts: the text of each prompt by its uuid, to show when Claude begins with it.
        terminals: whether the editor shows commands in terminals of its own that run nothing; an
            extension of the protocol, `terminal_output` in the client's `_meta`.
        cwd: the folder in which commands begin.

    Attributes:
        mode: Claude's permission mode, as far as it has said so; else empty.
    """

    def __init__(
        self, prompts: Mapping[str, str] | None = None, *, terminals: bool = False, cwd: str = ""
    ) -> None:
        self.mode = ""
        self._prompts = prompts or {}
        self._terminals = terminals
        self._cwd = cwd
        self._streaming = ""  # the id of the message that comes in pieces
        self._streamed: dict[str, None] = {}
        self._commands: dict[str, None] = {}  # the uses of the shell that run
        self._context = 0  # tokens that the model was given, and said, the last time

    def start_again(self) -> None:
        """Note that Claude is started again, in the mode that it had first."""
        self.mode = ""

    def observe(self, event: Event) -> list[Any]:
        """Return the updates that an event makes, and `PromptBegun` for a prompt without text."""
        return list(self._updates(event))

    def _updates(self, event: Event) -> Iterator[Any]:
        match event.data:
            case CommandLifecycle(command_uuid=uuid, state=state) if state == STARTED:
                text = self._prompts.get(uuid)
                if text:
                    yield acp.update_user_message_text(text)
                elif text is None:
                    yield PromptBegun(uuid)
            case StreamEvent() as piece if not piece.parent_tool_use_id:
                yield from self._piece(piece.event)
            case Assistant() as message:
                yield from self._message(message)
            case User() as message:
                yield from self._results(message)
            case System(permissionMode=str(mode)) if mode in {**_MODES, **_FURTHER_MODES}:
                if mode != self.mode:
                    self.mode = mode
                    yield CurrentModeUpdate(
                        session_update="current_mode_update", current_mode_id=mode
                    )
            case Result() as result:
                yield from self._usage(result)

    def _piece(self, piece: dict[str, Any]) -> Iterator[Any]:
        """Take a piece of an answer in the making, as the model's API sends it."""
        if piece.get("type") == "message_start":
            message = piece.get("message")
            self._streaming = str(message.get("id")) if isinstance(message, dict) else ""
        delta = piece.get("delta")
        if piece.get("type") == "message_delta" and isinstance(piece.get("usage"), dict):
            self._context = sum(count(piece["usage"].get(name)) for name in USAGE.values())
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
                if block.name == _SHELL:
                    if len(self._commands) >= _MOST_COMMANDS:
                        del self._commands[next(iter(self._commands))]
                    self._commands[block.id] = None
                yield from self._call(block)

    def _call(self, block: Block) -> Iterator[Any]:
        for update in _call(block):
            if self._terminals and block.name == _SHELL and block.id:
                update.content = [acp.tool_terminal_ref(block.id)]
                where = {"terminal_id": block.id, "cwd": self._cwd}
                update.field_meta = {"terminal_info": where}
            yield update

    def _results(self, message: User) -> Iterator[Any]:
        for block in message.message.blocks:
            if block.type != "tool_result" or not block.tool_use_id:
                continue
            text = _text_of(block.content)
            name, is_command = block.tool_use_id, block.tool_use_id in self._commands
            self._commands.pop(name, None)
            failed = bool(block.is_error)
            update = acp.update_tool_call(name, status="failed" if failed else "completed")
            if is_command:
                update.raw_output = {"output": text, "exit_code": _exit_code(text, failed)}
            if is_command and self._terminals:
                ended = {"exit_code": _exit_code(text, failed), "signal": None}
                update.field_meta = {
                    "terminal_output": {"terminal_id": name, "data": _for_terminal(text)},
                    "terminal_exit": {"terminal_id": name, **ended},
                }
            elif text:
                shown = _as_console(text) if is_command else text
                update.content = [acp.tool_content(acp.text_block(shown))]
            yield update

    def _usage(self, result: Result) -> Iterator[Any]:
        """Return how full the model's context is, and what the session has cost."""
        models = result.modelUsage if isinstance(result.modelUsage, dict) else {}
        used = [model for model in models.values() if isinstance(model, dict)]
        size = max((count(model.get("contextWindow")) for model in used), default=0)
        if size and self._context:
            cost = amount(result.total_cost_usd)
            yield UsageUpdate(
                session_update="usage_update",
                used=self._context,
                size=size,
                cost=None if cost is None else Cost(amount=cost, currency="USD"),
            )


def modes_of(current: str, configured: str | None) -> SessionModeState:
    """Return the permission modes that an editor may choose for a session.

    Args:
        current: the mode that it is in; empty for that with which it was started.
        configured: the mode with which it was started; None for Claude's own choice.
    """
    begun = _SAME_MODE.get(configured or "", configured or "default")
    now = current or begun
    further = {name: each for name, each in _FURTHER_MODES.items() if name in (now, begun)}
    modes = [
        SessionMode(id=name, name=title, description=text)
        for name, (title, text) in {**_MODES, **further}.items()
    ]
    return SessionModeState(current_mode_id=now, available_modes=modes)


def _exit_code(text: str, failed: bool) -> int:
    """Return the status that Claude Code names before a command's output, where it failed."""
    found = _EXIT.match(text) if failed else None
    return int(found[1]) if found else int(failed)


def _for_terminal(text: str) -> str:
    """Return output for a terminal that obeys escape sequences: each is shown, and none left."""
    return printable(text.replace("\r\n", "\n"))


def _as_console(text: str) -> str:
    """Return output as a block of code, whose fence is longer than any in the output."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}console\n{text.rstrip()}\n{fence}"


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
            return shortened(f"{tool}: {' '.join(given[name].split())}", _TITLE)
    return tool


def labels_of(choosing: dict[str, Any]) -> list[str]:
    """Return the labels of the options of something that Claude lets a person choose."""
    options = choosing.get("options")
    found = (
        [each for each in options if isinstance(each, dict)] if isinstance(options, list) else []
    )
    return [str(each["label"]) for each in found if each.get("label")]


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


def _text_of(raw: msgspec.Raw) -> str:
    """Return the text of what a tool gave; what is no text is left out."""
    content = msgspec.json.decode(raw) if bytes(raw) else ""
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        content = "\n".join(part for part in parts if isinstance(part, str))
    return content[:_OUTPUT] if isinstance(content, str) else ""
