"""One prompt and everything that comes of it."""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from claude_mpm.conversation.reasons import REASONS
from claude_mpm.conversation.verdict import Circumstances, Verdict, judge
from claude_mpm.errors import TurnFailed
from claude_mpm.wire.events import prompts_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping

    from claude_mpm.conversation.question import Question
    from claude_mpm.records import Delegation, Ticket, TurnRecord
    from claude_mpm.wire.events import Event

    Item = str | Event | Question

# How long, in seconds, an interrupted turn may take to end before it is given up.
_GRACE = 10.0


class Claude(Protocol):
    """What a turn needs of the session that runs it."""

    def interrupt(self) -> None:
        """Ask Claude to stop what it is doing."""

    def unread(self) -> Iterable[Event]:
        """Return the events of whole lines beyond what was read."""

    def keep_reason(self, prompt: str, known: Mapping[str, Any]) -> None:
        """Keep why a turn is ended, for whoever judges its record later."""


class Waiting(Protocol):
    """What a turn waits in before it goes on."""

    def close(self) -> None:
        """Wait no more."""


class Turn:
    """One prompt and its answer, as it comes; made by `MPMOrchestrator.ask`.

    Iterating gives the lines of the answer, `await` waits for the end; both see to it that the
    turn's time is kept. What is only known at the end waits for the end.

    Args:
        prompt: what is asked.
        claude: the session that runs it.
        timeout: seconds that it may take from its beginning; None for no limit.
        quiet: seconds of silence that end it, where the wire does not say where turns end; None
            where it does.
        command: see below.
        identity: the prompt's; None for a new one.
        name: of the prompt's message in the inbox; empty where it is not there yet.
        known: what is known of it already; see `Circumstances`.

    Attributes:
        prompt: what was asked.
        uuid: the prompt's identity on the wire.
        command: whether Claude Code takes the prompt as typed: `/word` as a command of its own,
            `@path` as a file.
        name: of its message in the inbox.
        known: what is known of it beside its results; `note` adds to it.
    """

    def __init__(
        self,
        prompt: str,
        claude: Claude,
        *,
        timeout: float | None = None,
        quiet: float | None = None,
        command: bool = False,
        identity: str | None = None,
        name: str = "",
        **known: Any,
    ) -> None:
        self.prompt = prompt
        self.uuid = str(uuid.uuid4()) if identity is None else identity
        self.command = command
        self.name = name
        self.results: list[TurnRecord] = []
        self.refused: list[TurnRecord] = []  # by the rate limit, which was waited for
        self.answered = False  # the assistant said or did something
        self.watched = False  # somebody has waited for it, or read of it
        self.known = Circumstances(structured=quiet is None, **known)
        self._claude = claude
        self._waiting: Waiting | None = None  # where it is parked
        self._timeout = timeout
        self._deadline: float | None = None
        self._left: float | None = None  # of its time, while that stands still
        self._extended = False  # for the reader, which is behind
        self._quiet = quiet
        self._quiet_until: float | None = None
        self._items: deque[Item] = deque()
        self._lines: list[str] = []
        self._tickets: dict[str, Ticket] = {}
        self._delegations: dict[str, Delegation] = {}
        self._value: Any = None  # of the last result, for a JSON schema
        self._values: list[Any] = []
        self._verdict: Verdict | None = None
        # Taken for `known`, items, deadline and verdict by the reader, by any thread that waits and
        # by any that interrupts; it wakes who waits. Who has it never takes the tracker's lock.
        self._changed = threading.Condition()
        self._listeners: set[Callable[[], None]] = set()

    # --- what a user reads ------------------------------------------------------------------

    def __iter__(self) -> Iterator[str]:
        """Yield the lines of the answer as they come."""
        return (item for item in self.stream() if isinstance(item, str))

    def stream(self) -> Iterator[Item]:
        """Yield lines, events and questions in the order in which they come; each only once."""
        self.watched = True
        while True:
            with self._changed:
                while not self._items and self._verdict is None:
                    self._changed.wait(self._next_alarm())
                    self._keep_time()
                if not self._items:
                    return
                item = self._items.popleft()
            yield item

    async def __aiter__(self) -> AsyncIterator[str]:
        """Yield the lines of the answer as they come."""
        async for item in self.stream_async():
            if isinstance(item, str):
                yield item

    async def stream_async(self) -> AsyncIterator[Item]:
        """Yield what `stream` yields, without blocking the event loop."""
        import asyncio

        self.watched = True
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(changed.set)

        self._listeners.add(wake)
        try:
            while True:
                changed.clear()
                while self._items:
                    yield self._items.popleft()
                if self._verdict is not None:
                    return
                try:
                    await asyncio.wait_for(changed.wait(), self._next_alarm())
                except TimeoutError:
                    with self._changed:
                        self._keep_time()
        finally:
            self._listeners.discard(wake)

    def __await__(self) -> Generator[None, None, Turn]:
        """Wait for the end; the value is the turn itself."""
        return self._wait_async().__await__()

    async def _wait_async(self) -> Turn:
        async for _ in self.stream_async():
            pass
        return self

    def wait(self, timeout: float | None = None) -> Turn:
        """Wait for the end and return the turn.

        Args:
            timeout: seconds to wait at most; the turn itself goes on after them.

        Raises:
            TimeoutError: the turn is not over yet.
        """
        self.watched = True
        limit = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while self._verdict is None:
                self._changed.wait(self._next_alarm(limit))
                self._keep_time()
                if self._verdict is None and limit is not None and time.monotonic() >= limit:
                    raise TimeoutError(f"the turn is not over after {timeout} seconds")
        return self

    def interrupt(self) -> None:
        """Ask Claude to stop this turn; it ends with what was said so far."""
        self.watched = True
        with self._changed:
            if self.done:
                return
            self.note(interrupted=True)
            waiting = self._waiting
            if waiting is not None:
                self.finish()
        if waiting is not None:
            waiting.close()
        else:
            self._claude.interrupt()

    def check(self) -> Turn:
        """Wait for the end and return the turn.

        Raises:
            TurnFailed: it did not complete.
        """
        if not self.verdict.ok:
            raise TurnFailed(f"the turn did not complete: {self.verdict}")
        return self

    @property
    def done(self) -> bool:
        """Whether the turn has ended."""
        return self._verdict is not None

    @property
    def verdict(self) -> Verdict:
        """What the turn came to."""
        self.wait()
        assert self._verdict is not None
        return self._verdict

    @property
    def text(self) -> str:
        """The whole answer."""
        self.wait()
        return "\n".join(self._lines)

    @property
    def structured_output(self) -> Any:
        """The value for the JSON schema that Claude was given; None where it gave none."""
        self.wait()
        return self._values[-1] if self._values else None

    @property
    def cost_usd(self) -> float:
        """What this turn cost."""
        self.wait()
        return sum(result.cost_usd for result in (*self.refused, *self.results))

    @property
    def framework(self) -> str:
        """The hash of the framework that was in effect; empty where there was none."""
        self.wait()
        return self.results[-1].framework if self.results else ""

    @property
    def tickets(self) -> list[Ticket]:
        """The tickets that were named."""
        self.wait()
        return list(self._tickets.values())

    @property
    def delegations(self) -> list[Delegation]:
        """What was delegated to subagents, with the outcome of each."""
        self.wait()
        return list(self._delegations.values())

    # --- what the tracker writes ------------------------------------------------------------

    def note(self, **known: Any) -> None:
        """Add to what is known of it beside its results, from any thread."""
        with self._changed:
            self.known = msgspec.structs.replace(self.known, **known)
        if not REASONS.isdisjoint(known):
            self._claude.keep_reason(self.uuid, known)

    def kept_as(self, name: str) -> None:
        """Note the name that its message has in the inbox."""
        self.name = name

    @property
    def parked(self) -> bool:
        """Whether it waits for the rate limit."""
        return self._waiting is not None

    def limit(self, timeout: float | None) -> None:
        """Start the turn's clock again, with the seconds that the turn may take from now on."""
        with self._changed:
            self._timeout = timeout
            self.begin()
            self._notify()  # who waits has to wake at another time

    def begin(self) -> None:
        """Start the turn's clock."""
        if self._timeout is not None:
            self._deadline = time.monotonic() + self._timeout

    def add_line(self, line: str) -> None:
        """Take a line of the answer."""
        if self._quiet is not None:
            self._quiet_until = time.monotonic() + self._quiet
        self._lines.append(line)
        self._add(line)

    def add_question(self, question: Question) -> None:
        """Take a question of Claude's."""
        self._add(question)

    def add_event(self, event: Event) -> None:
        """Take an event, and remember what it adds to the turn."""
        match event.kind:
            case "assistant":
                self.answered = True
            case "result":
                self._value = event.data.structured_output
            case "turn":
                self.results.append(event.data)
                self._values += [] if self._value is None else [self._value]
            case "ticket":
                self._tickets.setdefault(event.data.key, event.data)
            case "delegation":
                self._delegations[event.data.key] = event.data
            case "stream_event":
                return
        self._add(event)

    def add_stray(self, record: TurnRecord) -> None:
        """Take a result that ends no turn, as evidence."""
        with self._changed:
            self.note(strays=(*self.known.strays, record))

    def park(self, told: str, times: int, waiting: Waiting) -> None:
        """Let the turn wait for the rate limit, with its clock stopped.

        Args:
            told: until when.
            times: how often it has waited, with this one.
            waiting: closed where it is interrupted meanwhile.
        """
        with self._changed:
            if self.done:
                return
            self._waiting = waiting
            self.note(rate_limit=told, waited=times)
            self.set_aside()
            self._left = _until(self._deadline)
            self._deadline = None

    def set_aside(self) -> None:
        """Take the last result, which is an error, for no end of the turn."""
        if self.results and self.results[-1].is_error:
            self.refused.append(self.results.pop())

    def unpark(self, prompt_uuid: str) -> bool:
        """Go on with another prompt; False where the turn was ended meanwhile."""
        with self._changed:
            if self.done:
                return False
            self.uuid = prompt_uuid
            self._waiting = None
            self.note(rate_limit="")
            if self._left is not None:
                self._deadline = time.monotonic() + self._left
            return True

    def cut_off(self) -> None:
        """Judge it again once the session was ended behind it, and what it had left running."""
        with self._changed:
            self.note(cut_off=True)
            self._verdict = judge(self.results, self.known)

    def finish(self, **known: Any) -> None:
        """End the turn with what is known beside its results; only the first end counts."""
        with self._changed:
            if self._verdict is None:
                self.note(**known)
                self._verdict = judge(self.results, self.known)
            self._notify()

    def is_due(self) -> bool:
        """Return whether its time, or that of its last line, is up."""
        alarm = self._next_alarm()
        return alarm is not None and alarm <= 0

    def keep_time(self) -> None:
        """Interrupt or end the turn where its time is up."""
        with self._changed:
            self._keep_time()

    def _add(self, item: Item) -> None:
        with self._changed:
            self._items.append(item)
            self._notify()

    def _notify(self) -> None:
        self._changed.notify_all()
        for wake in tuple(self._listeners):
            wake()

    def _next_alarm(self, limit: float | None = None) -> float | None:
        moments = (self._deadline, self._quiet_until, limit)
        return _until(min((each for each in moments if each is not None), default=None))

    def _keep_time(self) -> None:
        now = time.monotonic()
        if self._quiet is not None and self._quiet_until is not None and now >= self._quiet_until:
            if any(True for _ in self._claude.unread()):  # no silence: this process was stopped
                self._quiet_until = now + self._quiet
            else:
                self.finish()
        if self._deadline is None or now < self._deadline or self._verdict is not None:
            return
        if self.known.timed_out or not self.known.structured:
            self.finish(timed_out=True)
            return
        if not self._extended and self._result_is_there():  # unread: this process was stopped
            self._extended, self._deadline = True, now + _GRACE
            return
        self.note(timed_out=True)
        self._deadline = now + _GRACE
        self._claude.interrupt()

    def _result_is_there(self) -> bool:
        """Return whether the journal has the result of this turn already."""
        return any(
            event.kind == "result" and self.uuid in prompts_of(event.data)
            for event in self._claude.unread()
        )


def _until(moment: float | None) -> float | None:
    return None if moment is None else max(0.0, moment - time.monotonic())
