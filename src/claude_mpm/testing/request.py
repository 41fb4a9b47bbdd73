"""What reached the scripted model: one value for each HTTP request."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SECRET_HEADERS = frozenset({"authorization", "x-api-key"})
_REMINDER = "<system-reminder"
_INTERRUPTED = "[Request interrupted"
_EVENT = "[SYSTEM NOTIFICATION - NOT USER INPUT]"  # of builds that do not put it into a reminder
_NOTES = (_REMINDER, _INTERRUPTED, _EVENT)
_NOTIFICATION = re.compile(r"<task-notification>.*?</task-notification>", re.DOTALL)
_TOOL_USE_ID = re.compile(r"<tool-use-id>(.*?)</tool-use-id>")

# How Claude Code opens the requests that it makes for itself (observed: 2.1.211 to 2.1.332).
_COMPACTION = "CRITICAL: Respond with TEXT ONLY"
_OWN_SYSTEM_PROMPTS = ("Generate a ", "You are naming a coding session")
# How it asks for the rest of a message that was cut off or withheld.
_GO_ON = (
    "Output token limit hit",
    "Your response above was ",
    "Your response was cut off",
    "[Your previous response had no visible output",
)


@dataclass(frozen=True)
class ToolResult:
    """The result of a tool call, as the model receives it."""

    tool_use_id: str
    text: str
    is_error: bool = False


@dataclass(frozen=True)
class Request:
    """One HTTP request that reached the scripted model.

    `headers` have lower-case names and no credentials; `body` is the parsed JSON, empty where
    there was none. Everything else is derived from these.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @classmethod
    def received(
        cls, method: str, path: str, headers: Mapping[str, str], body: Mapping[str, Any]
    ) -> Request:
        """Return the request as it is kept: without what identifies a caller."""
        kept = {k.lower(): v for k, v in headers.items() if k.lower() not in _SECRET_HEADERS}
        return cls(method, path, kept, body)

    @cached_property
    def prompt(self) -> str:
        """What the user, or for a subagent its caller, says in this request.

        The last text of the last `user` message that is not a note of Claude Code's: texts before
        it are prompts that were interrupted or failed. Empty where the request brings tool
        results or a notification instead.
        """
        return "" if self.tool_results else _said(self._last_user_blocks)

    @cached_property
    def tool_results(self) -> tuple[ToolResult, ...]:
        """The results of the tool calls that this request answers, in the order sent."""
        blocks = self._last_user_blocks
        # A prompt after an interrupt arrives in one message with the results of what was stopped.
        if any(text.startswith(_INTERRUPTED) for text in _texts(blocks)):
            return ()
        return tuple(
            ToolResult(
                str(block.get("tool_use_id", "")),
                "\n".join(_texts(_blocks(block.get("content")))),
                bool(block.get("is_error")),
            )
            for block in blocks
            if block.get("type") == "tool_result"
        )

    @cached_property
    def notifications(self) -> tuple[str, ...]:
        """The ids of the tool calls whose background work is newly reported as ended.

        The report is a request of its own, or a note in one that is made anyhow.
        """
        texts = "\n".join(_all_texts(self._since_last_reply))
        found = (_TOOL_USE_ID.search(each) for each in _NOTIFICATION.findall(texts))
        return tuple(match.group(1) for match in found if match)

    @property
    def is_notification(self) -> bool:
        """Whether this request was made only to report that background work has ended."""
        return bool(self.notifications) and not (self.prompt or self.tool_results)

    @cached_property
    def system(self) -> str:
        """The whole system prompt, with what was appended to it."""
        return "\n".join(_texts(_blocks(self.body.get("system"))))

    @cached_property
    def text(self) -> str:
        """Every text that the model could read: system prompt, messages, tool results."""
        return "\n".join((self.system, *_all_texts(self.messages)))

    @property
    def messages(self) -> list[Mapping[str, Any]]:
        """The conversation as it was sent."""
        return list(self.body.get("messages") or ())

    @property
    def model(self) -> str:
        """The model that was asked for."""
        return str(self.body.get("model", ""))

    @property
    def tools(self) -> tuple[str, ...]:
        """The names of the tools that were offered."""
        return tuple(str(tool.get("name", "")) for tool in self.body.get("tools") or ())

    @property
    def stream(self) -> bool:
        """Whether the answer is wanted as a stream."""
        return bool(self.body.get("stream"))

    @property
    def session_id(self) -> str:
        """The Claude session that asks."""
        return self.headers.get("x-claude-code-session-id", "")

    @property
    def agent_id(self) -> str:
        """The subagent that asks; empty for the main conversation."""
        return self.headers.get("x-claude-code-agent-id", "")

    @property
    def is_subagent(self) -> bool:
        """Whether a subagent asks, and not the main conversation."""
        return bool(self.agent_id) or "cc_is_subagent=true" in self.system

    @cached_property
    def state(self) -> str:
        """What all attempts at one request have in common, and no other request has.

        Attempts differ in more than one would think: after a 400, Claude Code 2.1.330 tries again
        with fewer features, hence with other notes and other tools.
        """
        said = [(m.get("role"), _essence(_blocks(m.get("content")))) for m in self.messages]
        turns = [each for each in said if each[0] in ("user", "assistant")]
        whole = repr((turns, self.is_notification and self.notifications)).encode()
        return f"{self.thread}/{hashlib.blake2b(whole, digest_size=16).hexdigest()}"

    @property
    def thread(self) -> str:
        """The conversation that asks: a session, or a subagent in it."""
        return f"{self.session_id}/{self.agent_id}"

    @cached_property
    def is_compaction(self) -> bool:
        """Whether Claude Code asks for a summary of the conversation."""
        return self.prompt.startswith(_COMPACTION)

    @cached_property
    def is_go_on(self) -> bool:
        """Whether Claude Code asks the model to go on after a message that ended too early.

        It says so in a note of its own since 2.1.332, and in a plain text before.
        """
        texts = _texts(self._last_user_blocks)
        notes = (text.lstrip().removeprefix(_REMINDER).lstrip(">\n ") for text in texts)
        return any(text.startswith(_GO_ON) for text in notes)

    @cached_property
    def is_side(self) -> bool:
        """Whether Claude Code asks for itself (quota, title, summary): no script is used up."""
        system = _texts(_blocks(self.body.get("system")))
        own = any(text.startswith(_OWN_SYSTEM_PROMPTS) for text in system)
        return self.is_compaction or self.body.get("max_tokens") == 1 or (own and not self.tools)

    @property
    def _since_last_reply(self) -> list[Mapping[str, Any]]:
        roles = [message.get("role") for message in self.messages]
        replies = [place for place, role in enumerate(roles, 1) if role == "assistant"]
        return self.messages[replies[-1] if replies else 0 :]

    @cached_property
    def _last_user_blocks(self) -> list[Mapping[str, Any]]:
        for message in reversed(self.messages):
            if message.get("role") == "user":
                return _blocks(message.get("content"))
        return []


def _blocks(content: Any) -> list[Mapping[str, Any]]:
    """Content is a string or a list of blocks; return it as blocks."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return list(content or ())


def _texts(blocks: list[Mapping[str, Any]]) -> list[str]:
    return [str(block["text"]) for block in blocks if block.get("type") == "text"]


def _essence(blocks: list[Mapping[str, Any]]) -> list[str]:
    return [
        str(block.get("text") or block.get("id") or block.get("tool_use_id"))
        for block in blocks
        if block.get("type") in ("text", "tool_use", "tool_result")
        and not str(block.get("text", "")).lstrip().startswith((_REMINDER, _EVENT))
    ]


def _said(blocks: list[Mapping[str, Any]]) -> str:
    said = [text for text in _texts(blocks) if not text.lstrip().startswith(_NOTES)]
    return said[-1] if said else ""


def _all_texts(messages: list[Mapping[str, Any]]) -> Iterator[str]:
    for message in messages:
        for block in _blocks(message.get("content")):
            yield from _texts([block])
            yield from _texts(_blocks(block.get("content")))
