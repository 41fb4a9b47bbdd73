"""What each turn cost: Claude reports sums, the processor tells the differences."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any, TypeVar

from claude_mpm.processors.dispatch import ByKind, derived
from claude_mpm.processors.identities import Identities
from claude_mpm.processors.validated_numbers import USAGE, amount, count, moment, tokens
from claude_mpm.records import Spending, TurnRecord
from claude_mpm.wire.events import Event, Result, prompts_of
from claude_mpm.wire.text_lines import notice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from claude_mpm.journal.layout import Start

Number = TypeVar("Number", int, float)
_MAX_NAMED = 20  # tools and notices in one record
_LONGEST = 500  # characters of a notice
# How the names of requests begin that ask at a start for the sum of the costs so far: some builds
# start it again from zero when a conversation is resumed.
SUM_REQUEST = "mpm_sum_"


class UsageProcessor(ByKind):
    """Makes a "turn" event of every result.

    Args:
        session: the session's id.
        starts: the session's starts, for the framework that was in effect at an offset.
        before: the sum that was reported before the first event to come.
        last_heard: when Claude said something last before it, in seconds since the epoch.
        known: the `uuid`s of results before it.
        number: of the last result of the same process before it, as that counts them; -1 for none,
            None where it is not known.
    """

    __slots__ = (
        "_api_error", "_clock", "_last_heard", "_notices", "_number", "_preempted", "_results",
        "_session", "_starts", "_tokens", "_total",
    )  # fmt: skip

    def __init__(
        self,
        session: str,
        starts: Sequence[Start] = (),
        before: Spending = Spending(),  # noqa: B008 -- it cannot be changed
        last_heard: float | None = None,
        known: Iterable[str] = (),
        number: int | None = None,
    ) -> None:
        self._session = session
        self._starts = starts
        self._total = before.cost_usd
        self._tokens = before.tokens
        self._last_heard = last_heard
        self._results = Identities(known)
        self._clock: str | None = None  # since then; a result has no timestamp
        self._notices: dict[str, None] = {}  # since the last result; each once
        self._number = number
        self._preempted = ""  # why, since the last result
        self._api_error = ""  # the assistant's last text, if it was one

    def taker(self, kind: str) -> Callable[[Event], Iterable[Event]] | None:
        """Return what takes events of a kind; None where nothing does."""
        takers = {
            "assistant": self._note_time,
            "system": self.note,
            "control_response": self._note_sum,
            "result": self._end_turn,
        }
        return takers.get(kind)

    def note(self, event: Event) -> Iterable[Event]:
        """Note what Claude Code tells of itself."""
        if event.type == "system/turn_preempted":
            self._preempted = str(event.data.reason or "no reason given")[:_LONGEST]
        text = notice(event)
        if text and len(self._notices) < _MAX_NAMED:
            self._notices[" ".join(text.split())[:_LONGEST]] = None
        return ()

    def _note_time(self, event: Event) -> Iterable[Event]:
        self._clock = event.data.timestamp or self._clock
        if not event.data.parent_tool_use_id:
            self._api_error = event.data.api_error or ""
        return ()

    def _note_sum(self, event: Event) -> Iterable[Event]:
        """Start the sums again from zero, if the build does so, which it reports at its start."""
        if (reported := told_sum(event)) is not None:
            self._total = min(self._total, reported.cost_usd)
            self._tokens = min(self._tokens, reported.tokens)
        return ()

    def _end_turn(self, event: Event) -> Iterable[Event]:
        if not self._results.add(event.data.uuid):
            return ()
        return (derived(event, "turn", self._record(event, event.data)),)

    def _record(self, event: Event, result: Result) -> TurnRecord:
        reported = amount(result.total_cost_usd)
        total = reported if reported is not None else self._total
        cost = increase(total, self._total)
        self._total = total
        usage = result.usage or {}
        used = self._count(result)
        counts: dict[str, Any] = {name: count(usage.get(key)) for name, key in USAGE.items()}
        return TurnRecord(
            session=self._session,
            offset=event.offset,
            end=event.end,
            uuid=result.uuid or "",
            prompts=prompts_of(result),
            origin=result.origin.kind if result.origin else "",
            subtype=result.subtype,
            is_error=bool(result.is_error),
            terminal_reason=result.terminal_reason or "",
            message=_message(result),
            api_error_status=count(result.api_error_status) or None,
            cost_usd=cost,
            total_cost_usd=total,
            tokens=used,
            total_tokens=self._tokens,
            duration=(amount(result.duration_ms) or 0.0) / 1000,
            ended_at=moment(self._clock) if self._clock else self._last_heard,
            denials=len(result.permission_denials or ()),
            denied_tools=_denied_tools(result),
            framework=framework_at(self._starts, event.offset),
            structured_output=result.structured_output,
            local_command=result.local_command or "",
            number=result.result_index,
            missing=self._note_number(result.result_index),
            queued_turns=count(result.queued_turn_count),
            resume_reason=(result.resume_reason or "")[:_LONGEST],
            **self._told_meanwhile(),
            **counts,
        )

    def _told_meanwhile(self) -> dict[str, Any]:
        """Return the notices since the last result, and clear them."""
        notices = {
            "notices": tuple(self._notices),
            "preempted": self._preempted,
            "api_error": self._api_error[:_LONGEST],
        }
        self._notices, self._preempted, self._api_error = {}, "", ""
        return notices

    def _note_number(self, number: int | None) -> int:
        """Take the number of a result, and return how many of its process are missing before it."""
        before, self._number = self._number, number
        if number is None or before is None:
            return 0
        # A number that went down is from a process that was started since.
        return count(number - before - 1) if number > before else count(number)

    def _count(self, result: Result) -> int:
        """Return the tokens of a turn, and add them to the sum."""
        before, total = self._tokens, tokens(result.modelUsage)
        if not total:  # no model is reported: an older release, or no call so far
            usage = result.usage or {}
            total = before + sum(count(usage.get(name)) for name in USAGE.values())
        self._tokens = count(total)
        return increase(self._tokens, before)


def framework_at(starts: Sequence[Start], offset: int) -> str:
    """Return the hash of the framework that was in effect at an offset; empty if there was none."""
    place = bisect_right([start.offset for start in starts], offset)
    return starts[place - 1].framework_sha256 if place else ""


def increase(total: Number, before: Number) -> Number:
    """Return what was added to a sum; one that went down was started again from zero."""
    return total - before if total >= before else total


def told_sum(event: Event) -> Spending | None:
    """Return the sum of a session that Claude was asked for at its start; None for all else."""
    if event.kind != "control_response":
        return None
    response = event.data.response
    is_ours = str(response.get("request_id")).startswith(SUM_REQUEST)
    return session_sum(response) if is_ours else None


def session_sum(response: dict[str, Any]) -> Spending | None:
    """Return the sum of a session in an answer to `get_usage`; None if the answer has none."""
    body = response.get("response")
    session = body.get("session") if isinstance(body, dict) else None
    if not isinstance(session, dict):
        return None
    return Spending(
        amount(session.get("total_cost_usd")) or 0.0, tokens(session.get("model_usage"))
    )


def _denied_tools(result: Result) -> tuple[str, ...]:
    denials = (denial for denial in result.permission_denials or () if isinstance(denial, dict))
    named = dict.fromkeys(str(denial.get("tool_name") or "a tool")[:100] for denial in denials)
    return tuple(named)[:_MAX_NAMED]


def _message(result: Result) -> str:
    """Return what Claude Code says went wrong; empty where nothing did."""
    if result.errors:
        return "; ".join(str(error) for error in result.errors)
    return (result.result or "") if result.is_error else ""
