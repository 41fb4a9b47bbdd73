"""Delegations: what Claude hands to subagents, followed to its end."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.patterns import lazy_pattern
from claude_mpm.processors.dispatch import ByKind, derived
from claude_mpm.processors.identities import Identities
from claude_mpm.processors.validated_numbers import amount, time_of
from claude_mpm.records import NATIVE_PREFIX, Delegation
from claude_mpm.wire.text_lines import result_text
from claude_mpm.wire.transcript import agent_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from claude_mpm.processors.delegation_text import FoundDelegation
    from claude_mpm.wire.events import Event

AGENT_TOOLS = frozenset({"Task", "Agent"})
# The tool's result for an agent that continues in the background (Claude Code 2.1).
_LAUNCHED = "Async agent launched"
_REPORTED = lazy_pattern(r"<(tool-use-id|status|summary|result|duration_ms)>(.*?)</\1>", re.DOTALL)
_DIGITS = lazy_pattern(r"[0-9]{1,15}")
_ENDS = {"completed": "completed", "failed": "failed", "stopped": "stopped", "killed": "stopped"}


class DelegationProcessor(ByKind):
    """Makes a "delegation" event whenever one begins, ends or changes.

    Args:
        session: the session's id.
        known: delegations that were made before the first event to come.
    """

    __slots__ = ("_calls_known", "_running", "_session")

    def __init__(self, session: str, known: Iterable[Delegation] = ()) -> None:
        self._session = session
        before = list(known)
        self._calls_known = Identities(delegation.key for delegation in before)
        self._running = {
            delegation.key: delegation for delegation in before if delegation.state == "running"
        }

    def taker(self, kind: str) -> Callable[[Event], Iterable[Event]] | None:
        """Return what takes events of a kind; None where nothing does."""
        return {
            "assistant": self._assistant,
            "user": self._user,
            "system": self._system,
            "unknown": self._unknown,
        }.get(kind)

    def _assistant(self, event: Event) -> Iterable[Event]:
        content = event.data.message.content
        if not isinstance(content, str):
            for block in content:
                if block.name in AGENT_TOOLS:
                    return self._calls(event)
        return ()

    def _user(self, event: Event) -> Iterable[Event]:
        if not self._running:
            return ()
        content = event.data.message.content
        is_text = isinstance(content, str)
        return self._report(event, content) if is_text else self._tool_results(event)

    def _system(self, event: Event) -> Iterable[Event]:
        is_relevant = event.data.subtype in ("task_started", "task_notification")
        return self._task(event) if is_relevant else ()

    def _unknown(self, event: Event) -> Iterable[Event]:
        if event.type != "queue-operation" or not self._running:
            return ()
        return self._report(event, str(event.data.fields.get("content") or ""))

    def _calls(self, event: Event) -> Iterator[Event]:
        for block in event.data.message.blocks:
            if block.type == "tool_use" and block.name in AGENT_TOOLS and block.id:
                if not self._calls_known.add(block.id):
                    continue  # a copy of one that may have ended
                called = block.input if isinstance(block.input, dict) else {}
                yield self._update(
                    Delegation(
                        key=block.id,
                        session=self._session,
                        agent=_named(str(called.get("subagent_type") or "general-purpose")),
                        description=str(called.get("description") or ""),
                        prompt=str(called.get("prompt") or ""),
                        started_at=time_of(event.data.timestamp),
                        offset=event.offset,
                    ),
                    event,
                )

    def _tool_results(self, event: Event) -> Iterator[Event]:
        for block in event.data.message.blocks:
            delegation = self._running.get(block.tool_use_id or "")
            if block.type != "tool_result" or delegation is None:
                continue
            text = result_text(block)
            if text.startswith(_LAUNCHED):
                yield self._update(msgspec.structs.replace(delegation, background=True), event)
            elif not delegation.background:
                state = "completed" if not block.is_error else _failure(text)
                ended = time_of(event.data.timestamp)
                took = delegation.duration or _elapsed(delegation, ended)
                report = delegation.result or agent_report(event) or text
                yield self._end(delegation, state, report, took, event)

    def _task(self, event: Event) -> Iterator[Event]:
        system = event.data
        delegation = self._running.get(system.tool_use_id or "")
        if delegation is None:
            return
        if system.subtype == "task_started":
            background = bool(system.is_backgrounded)
            agent = _named(system.subagent_type or delegation.agent)
            yield self._update(
                msgspec.structs.replace(delegation, background=background, agent=agent), event
            )
            return
        duration = amount((system.usage or {}).get("duration_ms"))
        seconds = duration / 1000 if duration is not None else None
        if delegation.background and system.status in _ENDS:
            state, report = _ENDS[system.status], system.summary or ""
            yield self._end(delegation, state, report, seconds, event)
        elif system.summary:
            # The tool's own result wraps the report in notes to the model.
            updated = msgspec.structs.replace(delegation, result=system.summary, duration=seconds)
            yield self._update(updated, event)

    def _report(self, event: Event, report: str) -> Iterator[Event]:
        """Take the report of a background agent as a transcript has it: waiting to be given."""
        fields: dict[str, str] = dict(_REPORTED.findall(report))
        delegation = self._running.get(fields.get("tool-use-id", ""))
        if delegation is not None and fields.get("status") in _ENDS:
            milliseconds = _DIGITS.fullmatch(fields.get("duration_ms", ""))
            seconds = int(milliseconds[0]) / 1000 if milliseconds else None
            result = fields.get("result") or fields.get("summary", "")
            yield self._end(delegation, _ENDS[fields["status"]], result, seconds, event)

    def _end(
        self, delegation: Delegation, state: str, result: str, duration: float | None, event: Event
    ) -> Event:
        ended = msgspec.structs.replace(delegation, state=state, result=result, duration=duration)
        del self._running[delegation.key]
        return derived(event, "delegation", ended)

    def _update(self, delegation: Delegation, event: Event) -> Event:
        self._running[delegation.key] = delegation
        return derived(event, "delegation", delegation)


def announcement(session: str, phrase: FoundDelegation, event: Event) -> Event:
    """Return the event of a delegation that a line of text announces.

    Args:
        session: the session's id.
        phrase: what it announces.
        event: the line.
    """
    identity = f"{session}\0{phrase.agent}\0{phrase.task}"
    announced = Delegation(
        key=f"text_{hashlib.blake2b(identity.encode(), digest_size=6).hexdigest()}",
        session=session,
        agent=phrase.agent,
        description=phrase.task,
        state="announced",
        source="text",
        offset=event.offset,
    )
    return derived(event, "delegation", announced)


def _failure(text: str) -> str:
    """Return "rejected" if the call's input was refused, so that it never ran; else "failed"."""
    return "rejected" if "InputValidationError" in text or "<tool_use_error>" in text else "failed"


def _elapsed(delegation: Delegation, ended: float | None) -> float | None:
    if delegation.started_at is None or ended is None:
        return None
    return max(0.0, ended - delegation.started_at)


def _named(agent: str) -> str:
    """Return the name that an agent has everywhere."""
    return agent.removeprefix(NATIVE_PREFIX)
