"""The vocabulary of a script: what the model does, in the order in which it does it.

A script reads like a transcript. Strings and `Say` are text, `Call` and `Delegate` use tools, and
what follows a tool call is said when its result is in:

    ["Let me look.", Call("Bash", command="ls"), "It is all there."]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from claude_mpm.testing.request import Request


@dataclass(frozen=True)
class Say:
    """A block of text.

    `chunk` is the number of characters in one piece of the stream (`None`: all in one) and
    `delay` the seconds before each piece.
    """

    text: str
    chunk: int | None = None
    delay: float = 0.0

    def __post_init__(self) -> None:
        _check_pace(self.chunk, self.delay)


@dataclass(frozen=True)
class Think:
    """A block of thinking, paced as `Say` is."""

    text: str
    chunk: int | None = None
    delay: float = 0.0

    def __post_init__(self) -> None:
        _check_pace(self.chunk, self.delay)


@dataclass(frozen=True, init=False)
class Call:
    """A tool call: `Call("Bash", command="ls")` or `Call("Bash", {"command": "ls"})`.

    Calls next to each other stand in one message: Claude runs them in parallel.
    """

    tool: str
    input: Mapping[str, Any]

    def __init__(self, tool: str, input: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        object.__setattr__(self, "tool", tool)
        object.__setattr__(self, "input", {**(input or {}), **more})


@dataclass(frozen=True)
class Delegate:
    """A call of the `Agent` tool, with what the subagent then does.

    `does` is the script of the subagent (default: a rule for its prompt, else the default reply).
    With `background`, the main conversation goes on at once, and `when_done` is what it says when
    it hears that the subagent has ended: in a turn of its own, or, if Claude Code reports it in
    the middle of a turn, at the end of that turn's script.
    """

    agent: str
    prompt: str
    does: Script = ()
    background: bool = False
    when_done: Script = ()
    description: str = ""

    @property
    def tool(self) -> str:
        """The name of the tool that is called."""
        return "Agent"

    @property
    def input(self) -> Mapping[str, Any]:
        """What the tool is called with."""
        return {
            "subagent_type": self.agent,
            "description": self.description or self.prompt[:40],
            "prompt": self.prompt,
            "run_in_background": self.background,
        }


@dataclass(frozen=True)
class Then:
    """The end of a message between two tool calls that must not run in parallel."""


@dataclass(frozen=True)
class Usage:
    """The token counts that this message reports; Claude Code reckons its cost from them."""

    input_tokens: int = 10
    output_tokens: int = 10
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0


@dataclass(frozen=True)
class Stop:
    """The end of a message with another reason than usual: `max_tokens`, `refusal`, ….

    What follows it answers the request in which Claude Code asks the model to go on; where nothing
    follows, the same message does.
    """

    reason: str


@dataclass(frozen=True)
class Fail:
    """An error of the API: at the start of a message an HTTP status, later an event in the stream.

    `times` is how many attempts fail before the rest of the script is played (`None`: all);
    `retry_after` is the header of that name, in seconds, and `headers` are more of them. Claude
    Code may ask the model to go on after an error in the stream: what follows the error answers
    that.
    """

    status: int
    times: int | None = None
    retry_after: float | None = None
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cut:
    """A connection that breaks here, in the first `times` attempts (`None`: in all of them).

    Only a stream can break: the non-streaming request that Claude Code falls back to is answered.
    """

    times: int | None = 1


@dataclass(frozen=True)
class Stall:
    """A stream that stands still here until `ScriptedModel.release()`.

    A `Say` that follows continues the same block of text. `seconds` ends the stall.
    """

    seconds: float | None = None


ToolCall: TypeAlias = Call | Delegate
Part: TypeAlias = Say | Think | Call | Delegate | Usage | Stop | Fail | Cut | Stall
Item: TypeAlias = "str | Part | Then | Callable[[Request], Script]"
Script: TypeAlias = "Item | Sequence[Item]"


@dataclass(frozen=True)
class ScriptedMessage:
    """One message of the model, and what the script goes on with after it."""

    parts: tuple[Part, ...]
    rest: tuple[Item, ...] = field(default=(), repr=False)

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tool calls of this message."""
        return tuple(part for part in self.parts if isinstance(part, ToolCall))


def items(script: Script) -> tuple[Item, ...]:
    """Return a script in its general form, a tuple of items."""
    if isinstance(script, Sequence) and not isinstance(script, str):
        return tuple(script)
    return (script,)


def next_message(script: Script, request: Request) -> ScriptedMessage:
    """Take the next message off a script; functions in it are called with the request."""
    parts: list[Part] = []
    rest = list(items(script))
    while rest:
        item = rest[0]
        if _has_call(parts) and not isinstance(item, ToolCall | Then):
            break
        del rest[0]
        if isinstance(item, Then):
            break
        if isinstance(item, str):
            parts.append(Say(item))
        elif callable(item):
            rest[:0] = items(item(request))
        else:
            parts.append(item)
        if isinstance(item, Stop):
            break
    return ScriptedMessage(tuple(parts), tuple(rest))


def _has_call(parts: list[Part]) -> bool:
    return bool(parts) and isinstance(parts[-1], ToolCall)


def _check_pace(chunk: int | None, delay: float) -> None:
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk is {chunk}: give a number of characters, or None for all in one")
    if delay < 0:
        raise ValueError(f"delay is {delay}: give seconds, 0 or more")
