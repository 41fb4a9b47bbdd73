"""What a turn came to, and what that rests on."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.patterns import lazy_pattern
from claude_mpm.validation import error_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_mpm.records import TurnRecord


class Outcome(StrEnum):
    """How a turn can end."""

    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    TIMED_OUT = "timed out"
    STALLED = "stalled"
    LOST = "lost"
    INCOMPLETE = "incomplete"
    OUTDATED = "outdated"  # the model's side takes this release of Claude Code no more


class Verdict(msgspec.Struct, frozen=True):
    """The outcome of a turn with its evidence.

    Args:
        outcome: how it ended.
        reason: one line for a person; of a turn that completed, which uses of tools were refused,
            empty for none.
        evidence: what the outcome rests on, one short line each.
    """

    outcome: Outcome
    reason: str = ""
    evidence: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the turn completed."""
        return self.outcome is Outcome.COMPLETED

    @property
    def exit_status(self) -> int:
        """What the command line ends with: 0, 1, 3, 124 or 130."""
        return _EXIT_STATUS.get(self.outcome, 1)

    def __str__(self) -> str:
        return f"{self.outcome} ({self.reason})" if self.reason else str(self.outcome)


_EXIT_STATUS = {
    Outcome.COMPLETED: 0,
    Outcome.TIMED_OUT: 124,
    Outcome.STALLED: 124,
    Outcome.INTERRUPTED: 130,
    Outcome.OUTDATED: 3,
}
_NO_VALUE = "Claude gave no value for the JSON schema"
_LIMITS = {
    "max_turns": "the limit of model turns was reached",
    "budget_exhausted": "the budget was used up",
    "error_max_turns": "the limit of model turns was reached",
    "error_max_budget_usd": "the budget was used up",
}
# What the model's side says of a Claude Code that it takes no more; of older ones, the words alone.
_TOO_OLD = "claude_code_version_too_old"
_SAYS_TOO_OLD = lazy_pattern(
    r"Claude Code \S+ (?:does not support this model; version \S+ or"
    r" newer is required|is older than the minimum version required)"
    r"|or later is required for your organization"
)
_UPDATE = "run `claude update`, or set claude_path to a newer one; claude-mpm doctor --claude"


class Circumstances(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a turn beside its results.

    Args:
        interrupted: someone asked Claude to stop.
        timed_out: the turn's time was up.
        stalled: what stood still, where it was ended for that.
        not_idle: what Claude did not say: that it is idle after its result, or a result before.
        resumed: how often Claude died in it and a fresh one was to go on.
        exceeded: which limit Claude was ended for.
        budget: which budget was used up, where the turn was interrupted or not begun for that.
        rate_limit: until when the rate limit stands that refused the turn, and what is done.
        waited: how often the turn waited for it.
        ended: Claude's output has ended.
        exit_status: how Claude ended; None while it runs, or where nobody knows.
        stderr: the last lines of its standard error.
        background: subagents that were still at work.
        stopped: subagents that were ended, where Claude has answered nothing since.
        commands: commands of tools that were still at work in the background.
        cut_off: whether these were ended with the session.
        over: Claude said by itself that it is done with the turn.
        schema: a value for a JSON schema was asked for.
        strays: results that came meanwhile and name no prompt, before Claude began with this one.
        structured: the wire says where turns end; where it does not, silence has to do.
    """

    interrupted: bool = False
    timed_out: bool = False
    stalled: str = ""
    not_idle: str = ""
    exceeded: str = ""
    budget: str = ""
    rate_limit: str = ""
    waited: int = 0
    resumed: int = 0
    ended: bool = False
    exit_status: int | None = None
    stderr: str = ""
    background: int = 0
    stopped: int = 0
    commands: int = 0
    cut_off: bool = False
    over: bool = False
    schema: bool = False
    strays: tuple[TurnRecord, ...] = ()
    structured: bool = True


def judge(results: Sequence[TurnRecord], known: Circumstances) -> Verdict:
    """Return the verdict on a turn from its results and everything else that is known.

    `subtype: success` proves nothing: an API failure has it too. What counts is `is_error`
    with `terminal_reason` of every result, and how Claude ended.
    """
    evidence = _evidence(results, known)
    outcome, reason = _outcome(results, known)
    return Verdict(outcome, reason, evidence)


def _outcome(results: Sequence[TurnRecord], known: Circumstances) -> tuple[Outcome, str]:
    if not _came_through(results, known):
        if known.timed_out:
            return Outcome.TIMED_OUT, "the turn's time was up"
        if known.stalled:
            return Outcome.STALLED, known.stalled
    aborted = _is_aborted(results, known)
    if known.budget and (aborted or not results):
        return Outcome.FAILED, known.budget
    if aborted:
        return Outcome.INTERRUPTED, "it was interrupted before its end"
    if known.interrupted and not results:
        waited = f"while {known.rate_limit}" if known.rate_limit else "before it began"
        return Outcome.INTERRUPTED, f"it was interrupted {waited}"
    for result in results:
        if _is_too_old(result):
            return Outcome.OUTDATED, f"{_failure(result)}; {_UPDATE}"
        if _is_error(result):
            return Outcome.FAILED, "; ".join(filter(None, (_failure(result), known.rate_limit)))
    if not results and (known.structured or known.exit_status):
        return Outcome.LOST, _loss(known)
    if known.background:
        return Outcome.INCOMPLETE, f"{known.background} background subagents did not hand back"
    if known.stopped:
        return Outcome.INCOMPLETE, f"{known.stopped} background subagents were stopped"
    if known.commands and known.cut_off:
        return Outcome.INCOMPLETE, f"{known.commands} background commands ended with the session"
    if missing := sum(result.missing for result in results):
        return Outcome.INCOMPLETE, _lost_results(missing)
    if known.schema and _lacks_value(results):
        return Outcome.FAILED, _NO_VALUE
    return Outcome.COMPLETED, _refusals(results)


def _came_through(results: Sequence[TurnRecord], known: Circumstances) -> bool:
    """Return whether Claude ended the turn by itself, though it was to be stopped meanwhile."""
    left = known.background or known.stopped
    return known.over and bool(results) and not left and not _is_aborted(results, known)


def _is_aborted(results: Sequence[TurnRecord], known: Circumstances) -> bool:
    """Return whether a result is that of an interrupt; some builds give it no reason of its own."""
    asked = known.interrupted or known.timed_out or bool(known.stalled)
    return any(
        result.terminal_reason.startswith("aborted")
        or (asked and not result.terminal_reason and result.subtype == "error_during_execution")
        for result in results
    )


def _is_error(result: TurnRecord) -> bool:
    """Return whether a result is no success, whatever else it says: some builds say little."""
    return result.is_error or result.subtype.startswith("error")


def _is_too_old(result: TurnRecord) -> bool:
    says = result.is_error and _SAYS_TOO_OLD.search(result.message)
    return result.api_error == _TOO_OLD or bool(says)


def _lost_results(number: int) -> str:
    return f"{number} result{'s' * (number > 1)} of Claude Code's before the last did not arrive"


def _refusals(results: Sequence[TurnRecord]) -> str:
    """Say which uses of tools were refused; empty for none."""
    number = sum(result.denials for result in results)
    names = dict.fromkeys(name for result in results for name in result.denied_tools)
    return f"{_uses(number)} refused: {', '.join(names) or 'no name given'}" if number else ""


def _uses(number: int) -> str:
    return "1 use of a tool was" if number == 1 else f"{number} uses of tools were"


def _lacks_value(results: Sequence[TurnRecord]) -> bool:
    """Return whether the model gave no value; a command of Claude Code's own has none to give."""
    asked = [result for result in results if not result.local_command]
    return bool(asked) and all(result.structured_output is None for result in asked)


def _failure(result: TurnRecord) -> str:
    for word in (result.terminal_reason, result.subtype):
        if word in _LIMITS:
            return _LIMITS[word]
    message = " ".join(result.message.split())
    return message or result.terminal_reason or result.subtype or "Claude reports an error"


def _loss(known: Circumstances) -> str:
    if known.exceeded:
        return known.exceeded
    if known.rate_limit:
        return f"{known.rate_limit}{', and Claude ended before that' if known.ended else ''}"
    told = error_line(known.stderr)
    said = f": {told}" if told else ""
    if not known.ended and known.resumed:
        return "Claude died in it, and a fresh one had nothing to add: it knows of no end of it"
    if not known.ended:
        return known.not_idle or f"there is no result{said}"
    status = "" if known.exit_status is None else f" with status {known.exit_status}"
    return f"Claude ended{status} without a result{said}"


def _evidence(results: Sequence[TurnRecord], known: Circumstances) -> tuple[str, ...]:
    found = [line for result in results for line in _result_lines(result)] or ["no result"]
    found += [
        f"result at byte {stray.offset} names no prompt, and came before Claude began with this one"
        for stray in known.strays
    ]
    if known.schema and _lacks_value(results):
        found.append(_NO_VALUE)
    noted = (known.stalled, known.not_idle, known.exceeded, known.budget, known.rate_limit)
    found += [text for text in noted if text]
    if known.waited:
        found.append(f"waited for the rate limit {known.waited} times")
    if known.resumed:
        found.append(f"taken up by a fresh Claude {known.resumed} times, after the one before died")
    if known.ended:
        found.append(f"output over, exit status {known.exit_status}")
    for number, what in (
        (known.background, "background subagents at work"),
        (known.stopped, "background subagents stopped"),
        (known.commands, "commands at work in the background"),
    ):
        if number:
            found.append(f"{number} {what}")
    return tuple(found)


def _result_lines(result: TurnRecord) -> list[str]:
    """Return a result and what it tells beside its outcome, a line each."""
    found = [
        f"result at byte {result.offset}: {result.subtype or 'no subtype'}"
        f"{', error' if result.is_error else ''}"
        f"{f', {result.terminal_reason}' if result.terminal_reason else ''}"
        f"{f', woken by {result.origin}' if result.origin else ''}"
    ]
    if result.local_command:
        found.append(f"a command of Claude Code ran, and no prompt ({result.local_command})")
    if result.denials:
        names = ", ".join(result.denied_tools) or "no name given"
        found.append(f"{_uses(result.denials)} refused ({names})")
    if result.missing:
        found.append(f"{_lost_results(result.missing)} (it is number {result.number})")
    if result.queued_turns:
        found.append(f"{result.queued_turns} prompts waited in Claude Code at its end")
    if result.resume_reason:
        found.append(f"it goes on with an earlier turn ({result.resume_reason})")
    if result.preempted:
        found.append(f"Claude Code ended it for what came behind it ({result.preempted})")
    return [*found, *(f"Claude Code says: {notice}" for notice in result.notices)]
