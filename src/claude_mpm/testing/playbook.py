"""Which request gets which reply: rules, turns, and the scripts that go on after tool calls."""

from __future__ import annotations

import itertools
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

from claude_mpm.testing.request import Request
from claude_mpm.testing.script import (
    Cut,
    Delegate,
    Fail,
    Item,
    Part,
    Script,
    ScriptedMessage,
    Stall,
    ToolCall,
    items,
    next_message,
)
from claude_mpm.testing.sse import Reply

Pattern: TypeAlias = str | re.Pattern[str] | Callable[[Request], bool]

SUMMARY = "<summary>The conversation so far, in a scripted summary.</summary>"
_SIDE_REPLY = "ok"


def echo(request: Request) -> Script:
    """Answer with what was heard: the default of a scripted model."""
    if request.is_notification:
        return "The background task has ended."
    results = "\n".join(result.text for result in request.tool_results)
    return f"Claude heard: {request.prompt or results}"


def matches(pattern: Pattern, request: Request) -> bool:
    """Return whether a request's prompt or tool result matches the pattern."""
    if callable(pattern):
        return pattern(request)
    said = request.prompt or "\n".join(result.text for result in request.tool_results)
    if isinstance(pattern, str):
        return pattern in said
    return pattern.search(said) is not None


@dataclass
class _Scene:
    """The message for one state of one conversation, however often it is asked for."""

    message: ScriptedMessage
    attempts: int = 0

    def attempt(self) -> int:
        """Count an attempt, and return its number."""
        self.attempts += 1
        return self.attempts


class Playbook:
    """The scripts of a model and how far each has come; safe to use from several threads."""

    def __init__(self, turns: Iterable[Script], default: Script) -> None:
        self._default = default
        self._turns = deque(turns)
        self._rules: list[tuple[Pattern, Script]] = []
        self._scenes: dict[str, _Scene] = {}
        self._after_call: dict[str, tuple[Item, ...]] = {}
        self._when_done: dict[str, tuple[Item, ...]] = {}
        self._subagents: dict[str, Script] = {}
        self._to_go_on: dict[str, tuple[Item, ...]] = {}
        self._replies = itertools.count(1)
        self._lock = threading.Lock()

    def on(self, pattern: Pattern, script: Script) -> None:
        """Add a rule; of several that match, the first one added counts."""
        with self._lock:
            self._rules.append((pattern, script))

    def answer(self, request: Request) -> Fail | Reply:
        """Return what this attempt at a request gets, and note how the script goes on."""
        scene = self._scene(request)
        with self._lock:
            number = next(self._replies)
            outcome = _attempt(scene.message, scene.attempt(), request.stream)
            if isinstance(outcome, Fail):
                return outcome
            return self._reply(request, outcome, number)

    def _scene(self, request: Request) -> _Scene:
        """A retry finds the scene of the first attempt, so that it uses up no script."""
        with self._lock:
            known = self._scenes.get(request.state)
            script = () if known else self._choose(request)
        if known:
            return known
        # Outside the lock: a function in a script may wait for another request.
        scene = _Scene(next_message(script, request))
        with self._lock:
            return self._scenes.setdefault(request.state, scene)

    def _choose(self, request: Request) -> Script:
        if request.is_side:
            return SUMMARY if request.is_compaction else _SIDE_REPLY
        done = [self._when_done.get(each, ()) for each in request.notifications]
        when_done = tuple(itertools.chain.from_iterable(done))
        if request.is_notification:
            return when_done or self._default
        return (*items(self._follow_up(request) or self._new_script(request)), *when_done)

    def _follow_up(self, request: Request) -> tuple[Item, ...]:
        """The rest of a script that has begun: after tool calls and after an early end."""
        for result in request.tool_results:
            if result.tool_use_id in self._after_call:
                return self._after_call[result.tool_use_id]
        return self._to_go_on.get(request.thread, ()) if request.is_go_on else ()

    def _new_script(self, request: Request) -> Script:
        for pattern, script in self._rules:
            if matches(pattern, request):
                return script
        if request.is_subagent:
            return self._subagents.get(request.prompt.strip(), self._default)
        if request.prompt and self._turns:
            return self._turns.popleft()
        return self._default

    def _reply(self, request: Request, message: ScriptedMessage, number: int) -> Reply:
        # The position in the conversation keeps ids apart when a second model goes on with it.
        stem = f"{len(request.messages):03d}{number:04d}"
        ids = tuple(f"toolu_{stem}{chr(97 + i % 26)}{i}" for i in range(len(message.calls)))
        for tool_use_id, call in zip(ids, message.calls, strict=True):
            self._after_call[tool_use_id] = message.rest
            self._remember(tool_use_id, call)
        self._to_go_on[request.thread] = _after_early_end(message)
        return Reply(f"msg_{stem}", request.model, message, ids)

    def _remember(self, tool_use_id: str, call: ToolCall) -> None:
        if not isinstance(call, Delegate):
            return
        self._when_done[tool_use_id] = items(call.when_done)
        if items(call.does):
            self._subagents[call.prompt.strip()] = call.does


def _attempt(message: ScriptedMessage, attempt: int, stream: bool) -> Fail | ScriptedMessage:
    """Return what the given attempt (from 1) gets: an error, or the message it plays."""
    kept: list[Part] = []
    for part in message.parts:
        if isinstance(part, Fail | Cut) and part.times is not None and attempt > part.times:
            attempt -= part.times
        elif isinstance(part, Fail) and not (stream and kept):
            return part
        elif stream or not isinstance(part, Cut | Stall):
            kept.append(part)
    return replace(message, parts=tuple(kept))


def _after_early_end(message: ScriptedMessage) -> tuple[Item, ...]:
    """What answers a wish to go on: what follows the early end, or the same message again."""
    for position, part in enumerate(message.parts, 1):
        if isinstance(part, Fail):
            return (*message.parts[position:], *message.rest) or message.parts
    return message.rest or message.parts
