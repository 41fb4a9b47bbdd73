"""One turn on the screen: the answer on standard output, everything else on standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from claude_mpm.cli.question_view import ask_person, question_line, telling
from claude_mpm.journal.parked import clock
from claude_mpm.orchestration.question import Question
from claude_mpm.orchestration.supervision.rate_limit import refused_until

if TYPE_CHECKING:
    from claude_mpm.cli.app import App
    from claude_mpm.orchestration.turn import Turn
    from claude_mpm.wire.events import Block, Event

_WIDTH = 100
_HOW = "see claude-mpm questions"


def show_turn(app: App, turn: Turn, *, asks: bool = False) -> None:
    """Print a turn as it comes.

    Ctrl-C interrupts the turn, a second Ctrl-C leaves.

    Args:
        asks: whether Claude's questions are put to the person.
    """
    interrupted = False
    items = turn.stream()
    while True:
        try:
            item = next(items, None)
            if item is None:
                return
            _show(app, item, asks=asks)
        except (KeyboardInterrupt, click.Abort):  # the second is Ctrl-C at a question
            if interrupted:
                raise
            interrupted = True
            app.note("interrupting; once more to leave")
            turn.interrupt()
            items = turn.stream()


def _show(app: App, item: str | Event | Question, *, asks: bool) -> None:
    if isinstance(item, str):
        if not app.json:
            click.echo(item)
            sys.stdout.flush()
    elif isinstance(item, Question):
        if asks:
            ask_person(item)
        elif not item.answered:
            app.note(f"? {question_line(item.tool, item.input, item.description)}; {_HOW}")
    else:
        for line in activity(item):
            app.note(click.style(line, dim=True))


def activity(event: Event) -> list[str]:
    """Return what a person is told of an event, one short line each."""
    match event.kind:
        case "assistant":
            calls = [block for block in event.data.message.blocks if block.type == "tool_use"]
            depth = "  " if event.data.parent_tool_use_id else ""
            return [_shorten(f"{depth}⚙ {call_line(call)}") for call in calls]
        case "ticket":
            by = f" by {event.data.agent}" if event.data.agent else ""
            return [_shorten(f"✎ {event.data.type}{by}: {event.data.title}")]
        case "delegation" if event.data.state not in ("running", "announced"):
            seconds = f" after {event.data.duration:.1f} s" if event.data.duration else ""
            return [f"⇠ {event.data.agent} {event.data.state}{seconds}"]
        case "system":
            return _system_line(event)
        case "not-json":
            return [_shorten(f"! a damaged line in the record: {event.data.text}")]
        case "unknown" if event.type == "rate_limit_event":
            until = refused_until(event.data.fields)
            return [f"✗ the rate limit is reached, until {clock(until)}"] if until else []
    return []


def call_line(call: Block) -> str:
    """Return a tool call in one line: its name, and the argument that tells most."""
    given: dict[str, Any] = call.input if isinstance(call.input, dict) else {}
    agent = f"{given['subagent_type']}: " if "subagent_type" in given else ""
    return f"{call.name} {agent}{telling(given)}"


def _system_line(event: Event) -> list[str]:
    system = event.data
    if system.subtype == "api_retry":
        wait = (system.retry_delay_ms or 0) / 1000
        return [f"… retry {system.attempt}/{system.max_retries} in {wait:.1f} s: {system.error}"]
    if system.subtype == "permission_denied":
        return [_shorten(f"✗ {system.tool_name} denied: {system.message}")]
    if system.subtype == "host_state" and system.message:
        return [f"? {system.message}"]
    if system.subtype == "transcript_changed":
        return [f"! {system.message}"]
    return []


def summary(turn: Turn, session_id: str) -> str:
    """Return a finished turn in one line."""
    parts = [str(turn.verdict)]
    if turn.cost_usd or not any(result.input_tokens for result in turn.results):
        parts.append(f"${turn.cost_usd:.4f}")  # else nobody has told it: so on a terminal
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
        "outcome": str(turn.verdict.outcome),
        "reason": turn.verdict.reason,
        "evidence": turn.verdict.evidence,
        "cost_usd": turn.cost_usd,
        "framework": turn.framework,
        "tickets": turn.tickets,
        "delegations": turn.delegations,
        "results": turn.results,
    }


def _shorten(line: str) -> str:
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"
