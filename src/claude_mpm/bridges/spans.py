"""The spans of a session, made from its events: a turn, and below it what its tools did.

Names and attributes are those of OpenTelemetry's GenAI conventions
(https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-agent-spans/). Ids and times come from
the journal alone, so whoever reads it, while Claude works or a year later, makes the same spans.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.processors.validated_numbers import moment

if TYPE_CHECKING:
    from claude_mpm.records import TurnRecord
    from claude_mpm.redaction import Redactor
    from claude_mpm.wire.events import Assistant, Block, Event, User

Value = str | int | float | bool
_AGENT_TOOLS = frozenset({"Agent", "Task"})
_AGENT = "claude-code"
_MOST_OPEN = 10_000  # tool calls without a result, of a session; more are forgotten
_LONGEST = 10_000  # characters of what a tool was given, or gave, and of what Claude said
_LONGEST_NAME = 200  # characters of any other text, which is a name


@dataclass(frozen=True)
class Span:
    """A span that has ended; its texts have a bound, and those that are cut say so.

    Args:
        trace: the id of the session's trace, of 128 bits.
        id: its own, of 64 bits.
        parent: that of the span around it; 0 for none.
        start, end: in seconds since the epoch.
        error: what went wrong, as `error.type`; empty if nothing did.
    """

    name: str
    trace: int
    id: int
    parent: int
    start: float
    end: float
    attributes: dict[str, Value]
    error: str = ""


def trace_of(session: str) -> int:
    """Return the id of a session's trace."""
    return _number(16, session)


def root_of(session: str) -> int:
    """Return the id of the span around all turns of a session."""
    return _number(8, session, "session")


def traceparent(session: str) -> str:
    """Return the value of TRACEPARENT that puts Claude's own spans below those of a session.

    Claude Code has read it since 2.1.110; its form is that of W3C Trace Context, level 1.
    """
    return f"00-{trace_of(session):032x}-{root_of(session):016x}-01"


def _number(size: int, *words: str) -> int:
    digest = hashlib.sha256("\0".join(words).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:size], "big") or 1  # 0 is no id


@dataclass
class _OpenCall:
    block: Block
    start: float | None
    parent: int
    attributes: dict[str, Value] = field(default_factory=dict)


class SpanFold:
    """Makes the spans of one session from its events, in the order of the journal.

    It is pure: no clock, no file. It is used by one thread at a time.

    Args:
        session: the session's id; its events are observed from the beginning.
        content: takes secrets out of prompts and of what tools got and gave, which are then
            among the attributes; None leaves them out.
    """

    def __init__(self, session: str, *, content: Redactor | None = None) -> None:
        self._session = session
        self._content = content
        self._trace = trace_of(session)
        self._turns = 0  # that have ended
        self._model = ""
        self._text = ""
        self._clock: float | None = None
        self._begun: float | None = None  # when the first sign of the turn at work came
        self._open: dict[str, _OpenCall] = {}
        self.last: float | None = None

    def observe(self, event: Event) -> list[Span]:
        """Return the spans that ended with an event."""
        match event.kind:
            case "assistant":
                self._note_time(event.data.timestamp)
                self._take_calls(event.data)
            case "user":
                self._note_time(event.data.timestamp)
                return self._take_results(event.data)
            case "turn":
                return [self._end_turn(event.data)]
        return []

    def root(self, start: float) -> Span:
        """Return the span around all turns.

        Args:
            start: when the session was made, in seconds since the epoch.
        """
        attributes: dict[str, Value] = {"gen_ai.conversation.id": self._session}
        end = max(start, self.last or start)
        span = root_of(self._session)
        return Span("claude_mpm.session", self._trace, span, 0, start, end, attributes)

    def _note_time(self, timestamp: str | None) -> None:
        time = moment(timestamp)
        if time is not None:
            self._clock = max(time, self._clock or time)
            self._begun = self._clock if self._begun is None else self._begun
            self.last = self._clock

    def _turn_span(self) -> int:
        return _number(8, self._session, "turn", str(self._turns))

    def _call_span(self, call: str) -> int:
        return _number(8, self._session, "call", call)

    def _take_calls(self, message: Assistant) -> None:
        outer = message.parent_tool_use_id
        self._model = message.message.model or self._model
        for block in message.message.blocks:
            if block.type == "tool_use" and block.id and len(self._open) < _MOST_OPEN:
                parent = self._call_span(outer) if outer else self._turn_span()
                self._open[block.id] = _OpenCall(block, self._clock, parent)
            elif block.type == "text" and not outer:
                self._text = block.text or self._text

    def _take_results(self, message: User) -> list[Span]:
        return [
            self._end_call(block)
            for block in message.message.blocks
            if block.type == "tool_result" and block.tool_use_id in self._open
        ]

    def _end_call(self, result: Block) -> Span:
        call = self._open.pop(result.tool_use_id or "")
        name, agent = cut(call.block.name or "a tool"), self._agent_of(call.block)
        attributes: dict[str, Value] = {
            "gen_ai.operation.name": "invoke_agent" if agent else "execute_tool",
            "gen_ai.conversation.id": self._session,
            "gen_ai.tool.name": name,
            "gen_ai.tool.call.id": cut(call.block.id or ""),
        }
        if agent:
            attributes["gen_ai.agent.name"] = agent
        if self._content is not None:
            attributes["gen_ai.tool.call.arguments"] = self._shown(call.block.input)
            attributes["gen_ai.tool.call.result"] = self._shown(_decoded(result.content))
        start = call.start if call.start is not None else self._clock or 0.0
        return Span(
            f"invoke_agent {agent}" if agent else f"execute_tool {name}",
            self._trace,
            self._call_span(call.block.id or ""),
            call.parent,
            start,
            max(start, self._clock or start),
            attributes,
            "tool_error" if result.is_error else "",
        )

    def _shown(self, value: object) -> str:
        """Return a value as JSON without secrets, which are looked for in what is decoded."""
        assert self._content is not None
        return cut(msgspec.json.encode(self._content.value(value)).decode(), _LONGEST)

    def _agent_of(self, call: Block) -> str:
        """Return the subagent that a call gives work to; empty if it is another tool's."""
        given = call.input if isinstance(call.input, dict) else {}
        name = given.get("subagent_type")
        agent = cut(name) if name and isinstance(name, str) else "agent"
        return agent if call.name in _AGENT_TOOLS else ""

    def _end_turn(self, record: TurnRecord) -> Span:
        end = record.ended_at or self._clock or 0.0
        start = min(end - record.duration, self._begun if self._begun is not None else end)
        attributes: dict[str, Value] = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.provider.name": "anthropic",
            "gen_ai.agent.name": _AGENT,
            "gen_ai.conversation.id": self._session,
            "gen_ai.request.model": cut(self._model),
            "gen_ai.usage.input_tokens": record.input_tokens,
            "gen_ai.usage.output_tokens": record.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": record.cache_read_tokens,
            "gen_ai.usage.cache_creation.input_tokens": record.cache_write_tokens,
            "claude_mpm.cost_usd": record.cost_usd,
            "claude_mpm.denied_tools": record.denials,
        }
        if self._content is not None:
            said = self._content.text(self._text)
            attributes["gen_ai.output.messages"] = cut(said, _LONGEST)
        span = Span(
            f"invoke_agent {_AGENT}", self._trace, self._turn_span(), root_of(self._session),
            start, end, attributes, cut(_error_of(record)),
        )  # fmt: skip
        self._turns += 1
        self._begun, self._text = None, ""
        self.last = max(end, self.last or end)
        return span


def cut(text: str, most: int = _LONGEST_NAME) -> str:
    """Return a text; of one that is too long its beginning, with how long it was.

    Args:
        most: characters that are kept.
    """
    return text if len(text) <= most else f"{text[:most]}… (cut: {len(text)} characters in all)"


def _decoded(raw: msgspec.Raw) -> object:
    return msgspec.json.decode(raw) if bytes(raw) else None


def _error_of(record: TurnRecord) -> str:
    if record.is_error or record.subtype not in ("success", ""):
        return record.subtype if record.subtype != "success" else record.terminal_reason or "error"
    return ""


def attributes_without_empty(span: Span) -> dict[str, Any]:
    """Return the attributes of a span that say something."""
    known = {name: value for name, value in span.attributes.items() if value != ""}
    return {**known, "error.type": span.error} if span.error else known
