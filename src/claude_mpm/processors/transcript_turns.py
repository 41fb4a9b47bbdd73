"""The turns of a conversation on a terminal, and its cost, from its transcript.

A transcript has no `result`. A turn begins with a prompt. It ends with a `turn_duration`, with the
report of an API error, or with the note that a person interrupted it; failing all of them, when
Claude is idle and writes nothing more. Without a terminal there is no `turn_duration`: there, an
answered turn ends with the next prompt, or with the costs that are written down at Claude's end.
(Observed: Claude Code 2.1.330.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.processors.dispatch import derived
from claude_mpm.processors.identities import Identities
from claude_mpm.processors.usage import framework_at
from claude_mpm.processors.validated_numbers import USAGE, amount, count, moment
from claude_mpm.records import Cost, TurnRecord
from claude_mpm.wire.events import CommandLifecycle, Event, System
from claude_mpm.wire.text_lines import reported_error
from claude_mpm.wire.transcript import Transcript, TranscriptEntry, entry_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from claude_mpm.journal.layout import Start
    from claude_mpm.wire.framing import Line

_PROMPTS = frozenset({"typed", "queued", "sdk"})  # the last: given to `claude -p`
_INTERRUPTED = "[Request interrupted by user"
# Types without a class; any other "unknown" line has an unexpected shape.
_BOOK_KEEPING = frozenset({"queue-operation", "cost-state"})
_IDENTIFIED = frozenset({"user", "assistant", "system"})
_MAX_TASKS = 1000  # whatever number a line has
_ABORTED = {"subtype": "error_during_execution", "terminal_reason": "aborted"}


class _Open(msgspec.Struct):
    """The turn that runs."""

    prompts: list[str]
    origin: str = ""
    usage: dict[str, dict[str, Any]] = {}  # by message: every block repeats that of its message
    answered: bool = False
    stop_reason: str | None = None

    def absorb(self, prompts: list[str]) -> None:
        """Add prompts that were inserted into it."""
        self.prompts += prompts

    def answer(self, stop_reason: str | None) -> None:
        """Note a message of Claude's own, with why it stopped."""
        self.answered, self.stop_reason = True, stop_reason


class TranscriptTurns:
    """Makes a "turn" event at the end of every turn, and a "cost" event where Claude reports it.

    What a turn cost is not reported: Claude writes the sum down at the end of a conversation.

    Args:
        session: the session's id.
        starts: the session's starts, for the framework that was in effect at an offset.
    """

    def __init__(self, session: str, starts: Sequence[Start] = ()) -> None:
        self._session = session
        self._starts = starts
        self._turn: _Open | None = None
        self._typed: list[str] = []  # prompts of the inbox whose line has not appeared
        self._lines = Identities()
        self._refused: dict[str, TurnRecord] = {}  # prompts that count as refused
        self._costs: dict[str, float] = {}  # of each conversation
        self._total = 0.0
        self._tokens = 0
        self._clock: str | None = None

    def __call__(self, event: Event) -> Iterable[Event]:
        """Return what `event` says of turns and of their cost."""
        if event.kind == "unknown" and event.type not in _BOOK_KEEPING:
            return ()
        if event.kind in _IDENTIFIED and not self._lines.add(event.data.uuid):
            return ()
        match event.type:
            case "user":
                return self._user(event, entry_of(event))
            case "assistant":
                self._clock = event.data.timestamp or self._clock
                return self._assistant(event, entry_of(event))
            case "system/turn_duration":
                return self._duration(event, entry_of(event))
            case "system/host_state" if event.data.state == "idle":
                return self._idle(event)
            case "system/local_command":
                return self._command(event)
            case "command_lifecycle":
                return self._lifecycle(event)
            case "queue-operation":
                return self._queue(entry_of(event))
            case "cost-state":
                return self._cost(event, entry_of(event))
        return ()

    # --- a turn's beginning -----------------------------------------------------------------

    def _lifecycle(self, event: Event) -> Iterator[Event]:
        uuid, reason = event.data.command_uuid, event.data.reason
        turn = _Open([uuid])
        match event.data.state:
            case "started":
                self._typed.append(uuid)
                yield from self._withdrawn(event, uuid)
            case "cancelled":
                yield self._kept(uuid, self._told(event, turn, **_ABORTED))
            case "refused":
                because = f": {reason}" if isinstance(reason, str) and reason else ""
                message = f"Claude did not take the prompt{because}"
                yield self._kept(uuid, self._told(event, turn, is_error=True, message=message))

    def _kept(self, uuid: str, event: Event) -> Event:
        self._refused[uuid] = event.data
        return event

    def _withdrawn(self, event: Event, uuid: str) -> Iterator[Event]:
        """Withdraw what was recorded of a prompt that Claude has taken after all."""
        early = self._refused.pop(uuid, None)
        if early is not None:
            yield derived(event, "turn", msgspec.structs.replace(early, subtype="withdrawn"))

    def _user(self, event: Event, entry: TranscriptEntry) -> Iterator[Event]:
        if entry.is_sidechain:
            return
        if entry.prompt_source in _PROMPTS:
            if self._turn is not None:
                yield self._end(event, **_outcome(self._turn))
            if not self._typed:
                started = CommandLifecycle(entry.uuid, "started")
                yield derived(event, "command_lifecycle", started)
            self._turn = _Open(self._typed[:1] or [entry.uuid])
            del self._typed[:1]
        elif entry.origin is not None and entry.origin.kind != "human":
            self._turn = self._turn or _Open([], entry.origin.kind)
        elif self._turn is not None and _first_text(event).startswith(_INTERRUPTED):
            yield self._end(event, **_ABORTED)

    def _queue(self, entry: TranscriptEntry) -> Iterable[Event]:
        """Record a prompt that was inserted into the running turn."""
        if self._turn is not None and entry.reason == "absorbed_mid_turn":
            self._turn.absorb(self._typed[:1])
            del self._typed[:1]
        return ()

    # --- its end ----------------------------------------------------------------------------

    def _assistant(self, event: Event, entry: TranscriptEntry) -> Iterator[Event]:
        turn = self._turn
        if turn is None:
            return
        turn.usage[entry.message.id] = entry.message.usage
        if entry.is_sidechain:
            return
        turn.answer(entry.message.stop_reason)
        if entry.is_api_error_message:
            yield self._end(
                event,
                is_error=True,
                message=reported_error(event) or "",
                api_error_status=count(entry.api_error_status) or None,
            )

    def _duration(self, event: Event, entry: TranscriptEntry) -> Iterator[Event]:
        pending = range(min(entry.pending_background_agent_count, _MAX_TASKS))
        tasks = [{"task_id": str(n), "task_type": "local_agent"} for n in pending]
        system = System(subtype="background_tasks_changed", tasks=tasks)
        yield derived(event, "system", system, "system/background_tasks_changed")
        if self._turn is not None:
            yield self._end(event, duration=(amount(entry.duration_ms) or 0.0) / 1000)

    def _idle(self, event: Event) -> Iterator[Event]:
        if self._turn is not None:
            yield self._end(event, **_outcome(self._turn))
        else:
            yield from self._command(event)

    def _command(self, event: Event) -> Iterator[Event]:
        """End the turn of a prompt that was a command for Claude Code itself."""
        if self._turn is None and self._typed:
            self._turn = _Open(self._typed[:1])
            del self._typed[:1]
            yield self._end(event)

    def _end(self, event: Event, **fields: Any) -> Event:
        turn, self._turn = self._turn, None
        assert turn is not None
        return self._told(event, turn, **fields)

    def _told(self, event: Event, turn: _Open, **fields: Any) -> Event:
        used = {name: _sum(turn, theirs) for name, theirs in USAGE.items()}
        tokens = sum(used.values())
        self._tokens = count(self._tokens + tokens)
        record = TurnRecord(
            session=self._session,
            offset=event.offset,
            end=event.end,
            prompts=tuple(turn.prompts),
            origin=turn.origin,
            total_cost_usd=self._total,
            tokens=tokens,
            total_tokens=self._tokens,
            ended_at=moment(self._clock),
            framework=framework_at(self._starts, event.offset),
            **{"subtype": "success", **used, **fields},
        )
        return derived(event, "turn", record)

    def _cost(self, event: Event, entry: TranscriptEntry) -> Iterator[Event]:
        if self._turn is not None and not _outcome(self._turn):
            yield self._end(event)
        total = amount(entry.total_cost)
        if total is None:
            return
        cost = total - self._costs.get(entry.session_id, 0.0)
        self._costs[entry.session_id] = total
        self._total += cost
        if cost > 0:
            record = Cost(
                session=self._session,
                cost_usd=cost,
                total_cost_usd=self._total,
                told_at=moment(self._clock),
            )
            yield derived(event, "cost", record)


def primed(turns: TranscriptTurns, lines: Iterable[Line], start: int) -> TranscriptTurns:
    """Bring a processor into the state it had at an offset, and return it.

    It has to hear all: a prompt may have been put long before its turn begins.

    Args:
        lines: of the journal, from its beginning.
        start: the offset.
    """
    wire = Transcript()
    for line in lines:
        if line.end > start:
            break
        for event in wire.decode(line):
            list(turns(event))
    return turns


def _first_text(event: Event) -> str:
    blocks = event.data.message.blocks
    return (blocks[0].text or "") if blocks else ""


def _outcome(turn: _Open) -> dict[str, str]:
    """Return how a turn ended of which nothing says so: answered, or taken back before."""
    ended_well = turn.answered and turn.stop_reason not in (None, "tool_use")
    return {} if ended_well else _ABORTED


def _sum(turn: _Open, name: str) -> int:
    return count(sum(count(usage.get(name)) for usage in turn.usage.values()))
