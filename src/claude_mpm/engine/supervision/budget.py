"""Budgets of a turn, a session and a day: what was used of them, and what is done at the end."""

from __future__ import annotations

import time
from datetime import date, datetime, timedelta
from datetime import time as clock
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.conversation.observer import Observer
from claude_mpm.engine.input import new_request_id
from claude_mpm.errors import BudgetExceeded, MPMError, StorageError
from claude_mpm.processors.usage import increase, session_sum, told_sum
from claude_mpm.processors.validated_numbers import count
from claude_mpm.records import Spending
from claude_mpm.validation import NOT_JSON

if TYPE_CHECKING:
    from typing import Any

    from claude_mpm.conversation.turn import Turn
    from claude_mpm.engine.live_session import LiveSession
    from claude_mpm.sessions.store import Store
    from claude_mpm.wire.events import Event

SPANS = ("turn", "session", "day")
INTERVAL = 5.0  # seconds between two questions for what was used
_GRACE = 10.0  # seconds for an interrupted turn to end


class _Counts(msgspec.Struct, frozen=True):
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0


class _Message(msgspec.Struct, frozen=True):
    id: str
    usage: _Counts = _Counts()


class _Line(msgspec.Struct, frozen=True):
    message: _Message


_decode = msgspec.json.Decoder(_Line).decode


class Budget(Observer):
    """Interrupts the turn that uses a budget up, and lets no prompt in where one is used up.

    What ended turns used is in the index, for all sessions. What the turn that runs
    has used, its subagents with it, Claude is asked for while it works (`get_usage`; observed:
    Claude Code 2.1.330), so no price is needed. Meanwhile, and where Claude cannot be asked, the
    tokens of its messages are counted: each message once, though every block of it repeats them.

    Args:
        live: the session; its options have the budgets.
    """

    heeds_all = True

    def __init__(self, live: LiveSession) -> None:
        self._live = live
        self._limits = live.options.budgets
        self._told_before: Spending | None = None  # by the last result: sums of the session
        self._sum_at_start: Spending | None = None  # told by Claude, where it resumed
        self._before: dict[str, Spending] = {}  # in each span, by turns that have ended
        self._told: Spending | None = None  # by Claude, of the turn that runs
        self._counted: dict[str, int] = {}  # tokens of each message since the last result
        self._asked: set[str] = set()
        self._next_question = 0.0
        self._news = False  # whether a message came since the last question
        self._interrupted: tuple[Turn | None, float] | None = None

    @property
    def may_block(self) -> bool:
        """Whether it may wait for the index: always."""
        return True

    def admit(self) -> None:
        """Let a prompt in.

        Raises:
            BudgetExceeded: that of the session or the day is used up.
            StorageError: nobody can tell.
        """
        if self._live.life.ends:
            return
        self._look_up()
        for span in SPANS[1:]:
            if found := self._used_up(span):
                raise BudgetExceeded(f"{found}; {_way_out(span)}")

    def observe(self, event: Event) -> None:
        """Take an event, after the turns have taken it."""
        if self._live.life.ends:
            return
        match event.kind:
            case "turn":
                self._note_turn(event)
            case "assistant" if self._count(event.raw):
                self._judge()
            case "control_response" if (told := told_sum(event)) is not None:
                self._note_sum(told)
            case "control_response":
                self._note_answer(event.data.response)
        self._news |= event.kind in ("assistant", "user")
        self._ask()

    def act(self) -> None:
        """Ask for what was used, and end a turn that does not hear."""
        if self._live.life.ends:
            return
        self._ask()
        if self._interrupted is None:
            return
        turn, at = self._interrupted
        if turn is not None and not turn.done and time.monotonic() - at >= _GRACE:
            turn.finish()  # it does not hear, and must not go on
            self._live.stop()

    # --- what was used ----------------------------------------------------------------------

    def _look_up(self) -> None:
        """Read what was used by turns that have ended.

        Raises:
            StorageError: the index does not tell.
        """
        index, session = self._live.store.index, self._live.folder.path.name
        if self._told_before is None:
            last = next(index.newest_turns(session), None)
            self._told_before = last.total if last else Spending()
            if (told := self._sum_at_start) is not None:
                self._note_sum(told)
            if self._has("day"):
                _catch_up_since(self._live.store, midnight(), session)
        turn = self._live.turns.active
        results = (*turn.refused, *turn.results) if turn is not None else ()
        self._before["turn"] = sum(
            (Spending(each.cost_usd, each.tokens) for each in results), Spending()
        )
        if self._has("session"):
            self._before["session"] = index.spent(session)
        if self._has("day"):
            self._before["day"] = index.spent_since(midnight(), session)

    def _running(self) -> Spending:
        """Return what was used since the last result."""
        before = self._told_before or Spending()
        told = self._told or before
        tokens = max(increase(told.tokens, before.tokens), sum(self._counted.values()))
        return Spending(increase(told.cost_usd, before.cost_usd), tokens)

    def _note_turn(self, event: Event) -> None:
        self._told_before, self._sum_at_start = event.data.total, None
        self._told = self._interrupted = None
        self._before.clear()
        self._counted.clear()
        self._news = False

    def _note_sum(self, told: Spending) -> None:
        """Start the sums again from zero, if the build does so, which it reports at its start."""
        before = self._told_before
        if before is not None:
            cost, tokens = min(before.cost_usd, told.cost_usd), min(before.tokens, told.tokens)
            self._told_before = Spending(cost, tokens)
        self._sum_at_start = told

    def _count(self, line: bytes) -> bool:
        """Count the tokens of a message; return whether there were any."""
        try:
            message = _decode(line).message
        except NOT_JSON:
            return False
        used = sum(map(count, msgspec.structs.astuple(message.usage)))
        self._counted[message.id] = max(used, self._counted.get(message.id, 0))
        return used > 0

    # --- what Claude says of it -------------------------------------------------------------

    def _ask(self) -> None:
        live, now = self._live, time.monotonic()
        if not self._news or now < self._next_question or not live.wire.greets:
            return
        self._news, self._next_question = False, now + INTERVAL
        name = new_request_id()
        self._asked.add(name)
        try:
            live.input.control("get_usage", name, skip_behaviors=True, detached=True)
        except MPMError as error:
            self._live.logger.debug("what the turn uses is not known: %s", error)

    def _note_answer(self, response: dict[str, Any]) -> None:
        if response.get("request_id") not in self._asked:
            return
        self._asked.discard(response["request_id"])
        told = session_sum(response)
        if told is None:
            return
        self._told = told
        self._judge(look_up=True)
        try:
            self._live.store.index.note_running(self._live.folder.path.name, self._running())
        except StorageError as error:
            self._live.logger.warning("%s", error)

    # --- what is done -----------------------------------------------------------------------

    def _judge(self, *, look_up: bool = False) -> None:
        """Interrupt the turn that runs where it uses up a budget."""
        if self._interrupted is not None:
            return
        try:
            if look_up or not self._before:
                self._look_up()
        except StorageError as error:
            self._live.logger.warning("%s", error)
        found = next(((span, text) for span in SPANS if (text := self._used_up(span))), None)
        if found is not None:
            self._interrupt(*found)

    def _interrupt(self, span: str, found: str) -> None:
        turn = self._live.turns.active
        self._interrupted = turn, time.monotonic()
        self._live.logger.warning("%s: the turn is interrupted", found)
        if turn is not None and not turn.done:
            turn.note(interrupted=True, budget=found)
        try:  # with the prompts that wait, where there is nothing left for them either
            self._live.input.control("interrupt", cancel_queued=span != "turn")
        except MPMError as error:
            self._live.logger.warning("the turn cannot be interrupted: %s", error)

    def _has(self, span: str) -> bool:
        return any(each == span for each, _ in self._limits)

    def near(self, part: float) -> list[tuple[str, str]]:
        """Return the spans of which so much of a budget is used, with how much; it reads nothing.

        Args:
            part: of the budget, as in 0.8.
        """
        found = []
        for (span, kind), limit in self._limits.items():
            if span not in self._before:
                continue  # what was used before is looked up with the next message
            used = self._before[span] + self._running()
            amount = used.cost_usd if kind == "cost" else used.tokens
            if amount >= part * limit:
                said = (
                    f"${amount:.4f} of ${limit:g}" if kind == "cost" else f"{amount} of {limit:g}"
                )
                found.append((span, said if kind == "cost" else f"{said} tokens"))
        return found

    def _used_up(self, span: str) -> str:
        """Say that the budget of a span is used up; empty where it is not."""
        used = self._before.get(span, Spending()) + self._running()
        cost, most = self._limits.get((span, "cost")), self._limits.get((span, "tokens"))
        if cost is not None and used.cost_usd >= cost:
            return f"the budget of this {span} is used up: ${used.cost_usd:.4f} of ${cost:g}"
        if most is not None and used.tokens >= most:
            return f"the budget of this {span} is used up: {used.tokens} of {most:g} tokens"
        return ""


def midnight(days: int = 0) -> float:
    """Return when today began here, or a day after it, in seconds since the epoch."""
    return datetime.combine(date.today() + timedelta(days), clock.min).timestamp()


def _way_out(span: str) -> str:
    names = f"raise `{span}_cost_limit_usd` or `{span}_token_limit`"
    if span == "session":
        return f"{names}, or go on in another session"
    ends = datetime.fromtimestamp(midnight(1)).strftime("%Y-%m-%d %H:%M")
    return f"{names}, or go on after {ends}"


def _catch_up_since(store: Store, moment: float, but: str) -> None:
    """Bring the index up to what was written since a moment, whoever has followed it.

    Raises:
        StorageError: the index cannot be written.
    """
    store.index.position("")  # raises here: an index that is damaged is no session's fault
    for folder in store.sessions():
        try:
            if folder.path.name != but and folder.journal.changed_at() >= moment:
                store.catch_up(folder)
        except (StorageError, FileNotFoundError):
            continue  # a damaged session takes no other along
