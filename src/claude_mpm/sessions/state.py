"""What a session is doing: one fold over its events, for whoever reads them, now or later.

Nobody else interprets what Claude Code says of itself. Whoever follows a session applies each event
as it is read, and asks; `ps`, the delivery of prompts and a take-up replay the journal, and ask the
same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.capabilities.facts import ASSUMED, by_version
from claude_mpm.patterns import lazy_pattern
from claude_mpm.wire.events import prompts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from claude_mpm.capabilities.facts import Capabilities
    from claude_mpm.wire.events import Block, ControlRequest, Event, Result, System

# What Claude says of a prompt when it begins with it, and when it has its result.
STARTED, COMPLETED = "started", "completed"
# What it says last of a prompt of which no result need come any more.
FINISHED = frozenset({COMPLETED, "cancelled", "discarded", "refused"})
# What it may have said of a prompt with which it has not begun.
NOT_BEGUN = frozenset({"", "queued"})
# The kinds of event in which it says something of a prompt, or answers a request.
DELIVERY = frozenset({"command_lifecycle", "control_response"})
_ANSWERED = "answered"  # what is remembered of a request of ours that has its response
# Events that come while a request is sent again, and mean nothing; half a line is no JSON.
_NO_PROGRESS = frozenset({"system/api_retry", "not-json"})
_NOTHING: frozenset[str] = frozenset()
# How a tool's result begins whose subagent goes on; up to 2.1.235 nothing else says that it does.
_LAUNCHED, _HEAD = lazy_pattern(b"Async agent launched"), 60  # bytes, searched without a copy
# How many ended prompts, requests and calls a session that is followed remembers.
MOST = 1000


def delivered(event: Event) -> tuple[str, str]:
    """Return of which prompt or request Claude speaks, and what it says.

    Args:
        event: of a kind in `DELIVERY`.
    """
    if event.kind == "command_lifecycle":
        return event.data.command_uuid, event.data.state
    return str(event.data.response.get("request_id")), _ANSWERED


class Asked(msgspec.Struct, frozen=True):
    """A permission that Claude asks for, as the journal has it.

    Args:
        request_id: Claude's name for it.
        request: what Claude asks.
        at: the time of what stands before it in the journal; empty where that has none.
    """

    request_id: str
    request: dict[str, Any]
    at: str = ""


class SessionState:
    """Folds events in the order of the journal; it reads nothing, and has no clock.

    One thread applies events at a time; others may ask meanwhile: what they are given was replaced,
    and not changed, or is looked up under one name.

    Args:
        begin: where in the journal the first event stands, in bytes.
        most: how many ended prompts, requests and calls are remembered; None for all.

    Attributes:
        claude_state: the state that Claude reported last: "running", "idle" or "requires_action";
            empty where this Claude has reported none.
        reports_state: whether it ever reported one.
        acknowledges: whether it reports the states of prompts.
        waits: whether it waits for a person at its screen.
        said: the last that Claude said of each prompt, and of each request to it: where in the
            journal, and what.
        asked: the permission requests that are open, by Claude's name for them.
        closed: those that Claude asks for no more.
        tools: the calls of tools that have no result, with the tools' names.
        background: the background subagents that are at work, by their tasks.
        backgrounded: the calls of tools whose tasks were started in the background.
        stopped: those of them that were stopped, with no answer since.
        commands: how many commands of tools are at work in the background.
        retries: why Claude has sent its request again, since anything else came.
        repeated: whether the last result came a second time.
        build: what this Claude can do; it says its version with its first turn at the latest.
    """

    __slots__ = (
        "_acknowledged",
        "_clock",
        "_last",
        "_last_result",
        "_left",
        "_most",
        "_next",
        "_open",
        "_over",
        "_result_at",
        "_result_end",
        "_speaks",
        "acknowledges",
        "asked",
        "background",
        "backgrounded",
        "begin",
        "build",
        "claude_state",
        "closed",
        "commands",
        "repeated",
        "reports_state",
        "retries",
        "said",
        "stopped",
        "tools",
        "waits",
    )  # fmt: skip

    def __init__(self, begin: int = 0, *, most: int | None = None) -> None:
        self._most = most
        self.reports_state = self.acknowledges = False
        self.said: dict[str, tuple[float, str]] = {}
        self.closed: dict[str, Asked] = {}
        self.backgrounded: dict[str, None] = {}
        self._last_result = ""  # the uuid of its line
        self._clock = ""
        self.repeated = False
        self.build = ASSUMED
        self._begin(begin)

    def _begin(self, begin: int) -> None:
        self.begin = self._result_end = begin
        self._next: int | None = None  # where the output of the next Claude begins
        self._over: dict[str, None] = {}  # prompts that have ended
        self._last: tuple[str, int] | None = None  # the last turn that has ended
        self._result_at = -1
        # Since the last result: whether Claude said or did something, or anything of a prompt.
        self._speaks = self._acknowledged = False
        self._open: dict[str, int] = {}  # acknowledged prompts: where their turns begin
        self.claude_state = ""
        self.waits = False
        self.asked: dict[str, Asked] = {}
        self.tools: dict[str, str] = {}
        self.background = self.stopped = _NOTHING
        self._left = _NOTHING  # background subagents that were at work before that changed last
        self.commands = 0
        self.retries: tuple[str, ...] = ()

    # --- what there is to know --------------------------------------------------------------

    @property
    def turn(self) -> tuple[str, int] | None:
        """The prompt whose turn runs, or else was the last, and where that turn begins."""
        return next(iter(self._open.items()), self._last)

    @property
    def at_work(self) -> bool:
        """Whether a prompt has no result yet, or Claude has not come to rest."""
        if self._open or self.claude_state not in ("", "idle"):
            return True
        if self.claude_state:
            return False
        return bool(self.background) or (self._speaks and not self._acknowledged)

    def delivery(self, prompt: str) -> str:
        """Return what Claude said last of a prompt: "queued", "started", …; empty for nothing."""
        return self.said.get(prompt, (0, ""))[1]

    def has_dropped(self, prompt: str) -> bool:
        """Return whether Claude says that it is done with a prompt, whatever the outcome."""
        return self.delivery(prompt) in FINISHED

    def comes_to_rest(self, event: Event) -> bool:
        """Return whether Claude is done, with the event that was applied last, with what it did.

        It says that it is idle, which it does not before background subagents have handed back and
        been answered; a build that is idle before that is done once none is at work. Builds that
        do not say it are done with a turn's record, once no background subagent is at work.
        """
        if self.reports_state:
            waits = not self.build.can("idle_means_idle") and self.background - self.stopped
            idle = event.type == "system/session_state_changed" and self.claude_state == "idle"
            return idle and not waits
        return event.kind == "turn" and not self.background

    def request(self, request_id: str) -> Asked | None:
        """Return a permission request, open or closed; None where there was none."""
        return self.asked.get(request_id) or self.closed.get(request_id)

    def left(self) -> dict[str, int]:
        """Return how much is at work in the background, or was stopped there."""
        return {
            "background": len(self.background - self.stopped),
            "stopped": len(self.stopped),
            "commands": self.commands,
        }

    # --- what happens -----------------------------------------------------------------------

    def know_build(self, build: Capabilities) -> None:
        """Take what this Claude can do, where it is known before it says its version."""
        self.build = build

    def expect_start(self, begin: int) -> None:
        """Restart when the output of a fresh Claude comes; its journal goes on with the last one's.

        Args:
            begin: where in the journal that begins, in bytes.
        """
        self._next = begin

    def restart(self, begin: int) -> None:
        """Begin again with a fresh Claude, which does not go on with what the last one did.

        Args:
            begin: where in the journal its output begins, in bytes.
        """
        self._close([*self.asked])
        self._begin(begin)

    def apply(self, event: Event) -> None:
        """Take the next event of the journal, or what a processor found in it."""
        if self._next is not None and event.offset >= self._next:
            self.restart(self._next)
        if self.retries and event.type not in _NO_PROGRESS:
            self.retries = ()
        take = _TAKES.get(event.kind)
        if take is not None:
            take(self, event)

    def recall(self, said: Mapping[str, tuple[float, str]]) -> None:
        """Take over what was said of prompts and requests before the first event."""
        self.said.update(said)

    def _note_prompt(self, event: Event) -> None:
        self.acknowledges = self._acknowledged = True
        uuid, word = delivered(event)
        self.said[uuid] = (event.offset, word)
        self._forget(self.said, but=self._open)
        if word in FINISHED:
            self._end(uuid)
        elif uuid not in self._over:
            self._open.setdefault(uuid, self._result_end)

    def _note_response(self, event: Event) -> None:
        request, word = delivered(event)
        self.said[request] = (event.offset, word)
        self._forget(self.said, but=self._open)

    def _note_result(self, event: Event) -> None:
        result: Result = event.data
        known, self._last_result = self._last_result, result.uuid or ""
        self.repeated = bool(known) and known == result.uuid
        self._result_at = event.offset
        if not self.repeated:
            self._end_turn(prompts_of(result), event.end, woken=result.origin is not None)

    def _note_turn(self, event: Event) -> None:
        if event.data.withdrawn:  # Claude has taken prompts after all that counted as not taken
            for uuid in event.data.prompts:
                self._over.pop(uuid, None)
                self._open.setdefault(uuid, self._result_end)
        elif event.offset != self._result_at:
            self._end_turn(event.data.prompts, event.end, woken=bool(event.data.origin))

    def _end_turn(self, prompts: Iterable[str], end: int, *, woken: bool) -> None:
        if not woken:  # a prompt without identity: the turn is known by its place alone
            self._last = ("", self._result_end)
        for uuid in prompts:
            self._end(uuid)
        self._result_end = end
        self._speaks = self._acknowledged = False
        self.stopped = _NOTHING
        self.tools.clear()
        if not self.claude_state:  # it does not say when it is idle
            self._close([*self.asked])

    def _end(self, uuid: str) -> None:
        self._over[uuid] = None
        self._forget(self._over)
        begin = self._open.pop(uuid, None)
        if begin is not None:
            self._last = (uuid, begin)

    def _note_system(self, event: Event) -> None:
        system: System = event.data
        match system.subtype:
            case "session_state_changed":
                self._note_state(system.state or "")
            case "background_tasks_changed":
                self._note_background(system)
            case "task_notification" if system.status == "stopped":
                # Some builds say first that it is gone, and then that it was stopped.
                self.stopped |= {str(system.task_id)} & (self.background | self._left)
            case "task_started" if system.is_backgrounded and system.tool_use_id:
                self.backgrounded[system.tool_use_id] = None
                self._forget(self.backgrounded)
            case "api_retry":
                self.retries = (*self.retries, str(system.error or "unknown error"))
            case "host_state":
                self.waits = system.state == "waiting"
            case "init":
                self._speaks = True
                self.tools.clear()
                self._note_version(system.claude_code_version or "")

    def _note_version(self, version: str) -> None:
        if version and version != self.build.version and self.build.source != "probe":
            self.build = by_version(version)

    def _note_state(self, state: str) -> None:
        self.claude_state, self.reports_state = state, True
        if state == "idle":  # a subagent in the background may still ask after a turn's result
            self._close([*self.asked])
            self.tools.clear()

    def _note_background(self, system: System) -> None:
        tasks = [task for task in system.tasks or () if isinstance(task, dict)]
        agents = [task for task in tasks if task.get("task_type") == "local_agent"]
        self._left = self.background
        self.background = frozenset(str(task.get("task_id")) for task in agents)
        self.commands = len(tasks) - len(agents)

    def _note_request(self, event: Event) -> None:
        request: ControlRequest = event.data
        name = request.request_id
        if request.asks_permission and name not in self.closed:
            self.asked[name] = Asked(name, request.request, self._clock)

    def _note_withdrawn(self, event: Event) -> None:
        self._close([event.data.request_id])

    def _note_message(self, event: Event) -> None:
        said = event.data
        if said.timestamp:
            self._clock = said.timestamp
        if not (self._speaks or said.parent_tool_use_id or said.isSidechain):
            self._speaks = True
        content = said.message.content
        if isinstance(content, str):
            return
        for block in content:
            if block.type == "tool_use":
                self.tools[block.id or ""] = block.name or "a tool"
            elif block.tool_use_id:
                self._note_tool_result(block.tool_use_id, block)

    def _note_tool_result(self, call: str, result: Block) -> None:
        self.tools.pop(call, None)
        if _LAUNCHED.search(result.content, 0, _HEAD):
            self.backgrounded[call] = None
            self._forget(self.backgrounded)
        if self.asked:  # a tool that has its result is asked for no more
            asked = self.asked.items()
            self._close([name for name, q in asked if q.request.get("tool_use_id") == call])

    def _close(self, requests: Iterable[str]) -> None:
        for name in requests:
            asked = self.asked.pop(name, None)
            if asked is not None:
                self.closed[name] = asked
        self._forget(self.closed)

    def _forget(self, known: dict[str, Any], but: Mapping[str, object] | None = None) -> None:
        """Forget what is oldest, where a session that is followed goes on for ever."""
        if self._most is not None and len(known) > self._most:
            oldest = next((each for each in known if each not in (but or ())), None)
            if oldest is not None:
                del known[oldest]


_TAKES: dict[str, Callable[[SessionState, Event], None]] = {
    "assistant": SessionState._note_message,
    "command_lifecycle": SessionState._note_prompt,
    "control_cancel_request": SessionState._note_withdrawn,
    "control_request": SessionState._note_request,
    "control_response": SessionState._note_response,
    "result": SessionState._note_result,
    "system": SessionState._note_system,
    "turn": SessionState._note_turn,
    "user": SessionState._note_message,
}
