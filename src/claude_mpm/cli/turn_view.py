"""One turn on the terminal: the answer on standard output, everything else on standard error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claude_mpm.cli.output import echo_answer
from claude_mpm.cli.question_view import ask_person, main_argument, question_line
from claude_mpm.cli.streams import OutputLost, ReaderGone
from claude_mpm.conversation.question import Question
from claude_mpm.journal.rate_limited import clock
from claude_mpm.printable import shortened
from claude_mpm.wire.events import rate_limit
from claude_mpm.wire.text_lines import notice, result_text

if TYPE_CHECKING:
    from claude_mpm.cli.app import App
    from claude_mpm.conversation.turn import Turn
    from claude_mpm.redaction import Redactor
    from claude_mpm.wire.events import Block, Event

_WIDTH = 100
_MAX = 4000  # characters of a line that are considered
_HOW = "see claude-mpm questions"


def show_turn(app: App, turn: Turn, *, asks: bool = False) -> None:
    """Print a turn as it comes.

    Where its text cannot be printed any more, the turn goes on to its end anyway, so that
    its outcome and what it found are kept. Ctrl-C interrupts the turn, a second Ctrl-C leaves.

    Args:
        asks: whether Claude's questions are put to the person.

    Raises:
        OutputLost: at the end of the turn, unless the reader had seen enough.
    """
    interrupted = False
    lost: OutputLost | None = None
    items, activity = turn.stream(), ActivityLines()
    while True:
        try:
            item = next(items, None)
            if item is None:
                break
            _show(app, item, activity, asks=asks)
        except OutputLost as error:
            lost = lost or error
        except KeyboardInterrupt:  # also the end of input at a question
            if interrupted:
                raise
            interrupted = True
            app.note("interrupting; once more to leave")
            turn.interrupt()
            items = turn.stream()
    if lost is not None and not isinstance(lost, ReaderGone):
        raise lost


def _show(app: App, item: str | Event | Question, activity: ActivityLines, *, asks: bool) -> None:
    if isinstance(item, str):
        if not app.json:
            echo_answer(item)
    elif isinstance(item, Question):
        if asks:
            ask_person(item)
        elif not item.answered:
            line = shortened(f"? {question_line(item.tool, item.input)[:_MAX]}", _WIDTH)
            app.note(f"{line}; {_HOW}")
    else:
        for line in activity.lines(item, app.redactor):
            app.note(line, dim=True)


class ActivityLines:
    """Makes short lines of a turn's events, which are shown besides the answer."""

    def __init__(self) -> None:
        self._tools: dict[str, str] = {}  # names of called tools, by the call's id
        self._shown: set[str] = set()  # calls that were refused, tickets, and notices

    def lines(self, event: Event, redactor: Redactor) -> list[str]:
        """Return the lines for an event, without secrets; a repeated one is returned once."""
        lines = (line[:_MAX].replace("\n", " ") for line in self._lines(event))
        return [shortened(redactor.text(line), _WIDTH) for line in lines]

    def _lines(self, event: Event) -> list[str]:
        match event.kind:
            case "assistant":
                calls = [block for block in event.data.message.blocks if block.type == "tool_use"]
                self._tools |= {call.id or "": call.name or "a tool" for call in calls}
                depth = "  " if event.data.parent_tool_use_id else ""
                return [f"{depth}⚙ {call_line(call)}" for call in calls]
            case "user" if event.data.tool_result_meta:
                blocks = event.data.message.blocks
                return [line for block in blocks for line in self._refusal(event, block)]
            case "ticket":
                by = f" by {event.data.agent}" if event.data.agent else ""
                text = f"✎ {event.data.type}{by}: {event.data.title}"
                return self._once(event.data.key, text)  # a forked skill's answer says it again
            case "delegation" if event.data.state not in ("running", "announced"):
                seconds = f" after {event.data.duration:.1f} s" if event.data.duration else ""
                return [f"⇠ {event.data.agent} {event.data.state}{seconds}"]
            case "system":
                return self._system(event)
            case "not-json":
                return [f"! a damaged line in the record: {event.data.text}"]
            case "unknown" if (limit := rate_limit(event)) and limit.until:
                return [f"✗ the rate limit is reached, until {clock(limit.until)}"]
        return []

    def _system(self, event: Event) -> list[str]:
        system = event.data
        if system.subtype == "api_retry":
            wait = (system.retry_delay_ms or 0) / 1000
            retry = f"{system.attempt}/{system.max_retries}"
            return [f"… retry {retry} in {wait:.1f} s: {system.error}"]
        if system.subtype == "permission_denied":
            return self._denied(system.tool_use_id or "", system.tool_name, system.message)
        if system.subtype == "host_state" and system.message:
            return [f"? {system.message}"]
        if system.subtype == "transcript_changed":
            return [f"! {system.message}"]
        text = notice(event)
        return self._once(text, f"! {text}") if text else []

    def _refusal(self, event: Event, block: Block) -> list[str]:
        """Return the line for a tool that a rule refused, which only its result shows."""
        call = block.tool_use_id or ""
        metas = (meta for meta in event.data.tool_result_meta if isinstance(meta, dict))
        decisions = (meta.get("permission_decision") for meta in metas if meta.get("id") == call)
        refused = any(isinstance(d, dict) and d.get("decision") == "reject" for d in decisions)
        if block.type != "tool_result" or not refused:
            return []
        reason = result_text(block).replace("<tool_use_error>", "").replace("</tool_use_error>", "")
        return self._denied(call, self._tools.get(call, "a tool"), reason)

    def _denied(self, call: str, tool: str | None, message: object) -> list[str]:
        return self._once(call, f"✗ {tool} denied: {message}")

    def _once(self, what: str, line: str) -> list[str]:
        if what in self._shown:
            return []
        self._shown.add(what)
        return [" ".join(line.split())]


def call_line(call: Block) -> str:
    """Return a tool call in one line: its name, and its main argument."""
    arguments: dict[str, Any] = call.input if isinstance(call.input, dict) else {}
    agent = f"{arguments['subagent_type']}: " if "subagent_type" in arguments else ""
    return f"{call.name} {agent}{main_argument(arguments)}"


def summary(turn: Turn, session_id: str) -> str:
    """Return a finished turn in one line."""
    parts = [str(turn.verdict)]
    if not turn.command and any(result.local_command for result in turn.results):
        parts.append("a command of Claude Code ran, and no prompt")
    if turn.cost_usd or not any(result.input_tokens for result in turn.results):
        parts.append(f"${turn.cost_usd:.4f}")  # else it is unknown, as on a terminal
    if turn.tickets:
        parts.append(count(len(turn.tickets), "ticket"))
    if turn.delegations:
        parts.append(count(len(turn.delegations), "delegation"))
    return f"{', '.join(parts)} · session {session_id[:8]}"


def count(number: int, noun: str) -> str:
    """Return "1 ticket", "2 tickets"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def turn_record(turn: Turn, session_id: str) -> dict[str, Any]:
    """Return a finished turn as `--json` prints it."""
    return {
        "session": session_id,
        "text": turn.text,
        "structured_output": turn.structured_output,
        "outcome": str(turn.verdict.outcome),
        "reason": turn.verdict.reason,
        "evidence": turn.verdict.evidence,
        "cost_usd": turn.cost_usd,
        "framework": turn.framework,
        "tickets": turn.tickets,
        "delegations": turn.delegations,
        "results": turn.results,
    }
