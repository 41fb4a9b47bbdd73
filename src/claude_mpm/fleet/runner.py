"""Runs a batch: admits attempts to places, follows them, and writes down the outcome of each.

All of it is in one event loop, which alone writes the log; what waits is done in threads.
"""

from __future__ import annotations

import asyncio
import errno
import heapq
import itertools
import os
import time
import uuid
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.conversation.question import Question
from claude_mpm.errors import (
    BudgetExceeded,
    ClaudeNotFound,
    LaunchError,
    MPMError,
    SessionEnded,
    StorageError,
    UsageError,
)
from claude_mpm.fleet.account import Account
from claude_mpm.fleet.attempt import Job, Seen, trouble_of
from claude_mpm.fleet.in_place import Abandoned
from claude_mpm.fleet.ledger import Began, Ended, Halted, Paused, Resumed
from claude_mpm.fleet.snapshot import Live, Snapshot, remove_snapshot, write_snapshot
from claude_mpm.fleet.task import Outcome, Result, Trouble
from claude_mpm.printable import one_line
from claude_mpm.records import Spending
from claude_mpm.redaction import Redactor, secrets_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from claude_mpm.fleet.ledger import Entry, Ledger, TaskState
    from claude_mpm.fleet.places import Place
    from claude_mpm.sessions.store import Store

_GRACE = 15.0  # seconds for an interrupted turn to end
_LONGEST_PAUSE = 300.0  # seconds between two attempts, or until a place is tried again
_LONGEST_REASON = 400  # characters
_LIVE_INTERVAL = 1.0  # seconds between two notes of what goes on
_PLACE_FAILS = (LaunchError, ClaudeNotFound, SessionEnded)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class How(IntEnum):
    """How a runner goes on; it never goes back."""

    RUN = 0
    DRAIN = 1  # begin nothing more
    END = 2  # interrupt what runs; it can go on later
    LEAVE = 3  # let what runs go on by itself


class _Site:
    """A place with how many sessions it has, and whether it has failed."""

    def __init__(self, place: Place, account: Account) -> None:
        self.place = place
        self.account = account
        self.used = 0
        self.failures = 0
        self.down_until = 0.0

    @property
    def room(self) -> int:
        """How many sessions more it takes now."""
        return 0 if time.monotonic() < self.down_until else self.place.at_once - self.used

    def take(self) -> None:
        """Count one more session there."""
        self.used += 1

    def give_back(self) -> None:
        """Count one session less."""
        self.used -= 1

    def note(self, trouble: Trouble | None) -> None:
        """Take note of how an attempt there ended."""
        if trouble is not Trouble.PLACE_LOST:
            self.failures, self.down_until = 0, 0.0
            return
        self.failures += 1
        self.down_until = time.monotonic() + _pause(self.failures)


class Runner:
    """Runs the tasks of a batch that have not ended.

    Args:
        ledger: of the batch; its lock is held.
        places: where.
        store: all sessions of this user.
        options: keyword arguments of an orchestrator that hold for every task.

    Attributes:
        live: what each running session does, by its task.
        how: how it goes on.
        reason: why it does not run on; empty while it does.

    Raises:
        UsageError: no place takes a session, or one where an attempt is open is not among them.
    """

    def __init__(
        self, ledger: Ledger, places: Sequence[Place], store: Store, options: Mapping[str, Any]
    ) -> None:
        accounts: dict[str, Account] = {}
        self._sites = {
            place.name: _Site(place, accounts.setdefault(place.account, Account()))
            for place in places
        }
        self._accounts = accounts
        self._ledger = ledger
        self._store = store
        self._options = dict(options)
        self._begin = partial(next, itertools.count())  # tells entries of the heap apart
        states = [state for state in ledger.tasks.values() if not state.ended]
        self._open = deque(state for state in states if state.open is not None)
        self._new = deque(state for state in states if state.open is None)
        self._later: list[tuple[float, int, TaskState]] = []
        self._workers: set[asyncio.Task[None]] = set()
        self._failed = sum(not result.ok for result in ledger.results())
        self._error: BaseException | None = None
        self._has_begun = False
        self._jobs: set[Job] = set()
        self._redactor = Redactor(secrets=secrets_of(os.environ))
        self.live: dict[str, Live] = {}
        self.how = How.RUN
        self.reason = ""
        self.entries: asyncio.Queue[Entry | None] = asyncio.Queue()
        self._check()

    def _check(self) -> None:
        if not any(site.place.at_once > 0 for site in self._sites.values()):
            raise UsageError("no place takes a session; give one room, as in --on local:4")
        for state in self._open:
            name = state.open.place if state.open else ""
            if name not in self._sites:
                raise UsageError(
                    f"task {state.task.id!r} is open in the place {name!r}, which is not among"
                    f" those of this run; name it as well: --on {name}"
                )
            if self._sites[name].place.at_once < 1:
                raise UsageError(
                    f"task {state.task.id!r} is open in the place {name!r}, which takes no session;"
                    f" give it room, as in --on {name}:1"
                )

    # --- the whole --------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until every task has ended, or the runner is asked to halt.

        Raises:
            MPMError: the log takes no more, or something else that is no task's fault.
        """
        loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._no_more: asyncio.Future[None] = loop.create_future()  # at DRAIN, and all behind it
        self._halting: asyncio.Future[None] = loop.create_future()  # at END and LEAVE
        self._has_begun = True
        if self.how > How.RUN:
            self._signal()
        processors = max(2, os.cpu_count() or 2)
        many = sum(site.place.at_once for site in self._sites.values()) + processors
        limit = self._ledger.limits.timeout
        timer = loop.call_later(limit, self.halt, How.END, "time") if limit else None
        with ThreadPoolExecutor(processors) as self._starts, ThreadPoolExecutor(many) as self._rest:
            noting = loop.create_task(self._note_live())
            try:
                await self._admit_all()
            finally:
                noting.cancel()
                if timer is not None:
                    timer.cancel()
                self.entries.put_nowait(None)
        remove_snapshot(self._ledger.folder)
        if self._error is not None:
            with suppress(MPMError):  # where the disk takes no more, this is the error
                self._note(Halted(reason=self._said(self._error), at=time.time()))
            raise self._error
        if self.how > How.RUN and not self._ledger.done:
            self._note(Halted(reason=self.reason, at=time.time()))

    def halt(self, how: How, reason: str) -> None:
        """Let the runner come to an end; called in its loop.

        Args:
            how: what becomes of what runs.
            reason: in one or two words, or an error.
        """
        if how > self.how:
            self.how, self.reason = how, reason
            self._signal()

    def leave(self, error: BaseException | None) -> None:
        """Let what runs go on by itself; called in its loop.

        Args:
            error: that ends the program; None where it has enough.
        """
        self.halt(How.LEAVE, self._said(error) if error is not None else "released by the program")

    def _said(self, error: BaseException) -> str:
        """Return an error as a bounded line without secrets."""
        if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
            return "interrupted"
        kind = "" if isinstance(error, MPMError) else type(error).__name__
        text = one_line(self._redactor.text(str(error)))
        return ": ".join(filter(None, (kind, text)))[:_LONGEST_REASON]

    def _signal(self) -> None:
        if not self._has_begun:
            return
        if not self._no_more.done():
            self._no_more.set_result(None)
        if self.how > How.DRAIN and not self._halting.done():
            self._halting.set_result(None)
            for job in self._jobs:
                job.over.set()
        self._changed.set()

    async def _admit_all(self) -> None:
        """Begin what there is room for, whenever something has changed, until all is done."""
        self._judge_limits()
        while self._workers or (self.how is How.RUN and self._left):
            self._admit()
            self._changed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), self._next_moment())

    @property
    def _left(self) -> bool:
        return bool(self._open or self._new or self._later)

    def _admit(self) -> None:
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            self._new.appendleft(heapq.heappop(self._later)[2])
        while self.how is How.RUN and (found := self._next()) is not None:
            state, site = found
            site.take()
            worker = asyncio.create_task(self._work(state, site))
            self._workers.add(worker)
            worker.add_done_callback(partial(self._is_done, site))

    def _next(self) -> tuple[TaskState, _Site] | None:
        """Return a task and the place for it; None where there is no room now."""
        for _ in range(len(self._open)):
            state = self._open.popleft()
            site = self._sites[state.open.place if state.open else ""]
            if site.room > 0:
                return state, site
            self._open.append(state)
        free = [site for site in self._sites.values() if site.room > 0]
        if not free or not self._new:
            return None
        state = self._new.popleft()
        tried = {began.place for began in state.began}
        others = [site for site in free if site.place.name not in tried]
        return state, max(others or free, key=lambda site: site.room / site.place.at_once)

    def _next_moment(self) -> float | None:
        """Return in how many seconds something is due without a change."""
        now = time.monotonic()
        moments = [self._later[0][0]] if self._later else []
        if self._new or self._open:
            moments += [s.down_until for s in self._sites.values() if s.down_until > now]
        return max(0.0, min(moments) - now) if moments else None

    def _is_done(self, site: _Site, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        site.give_back()
        error = None if worker.cancelled() else worker.exception()
        if error is not None and self._error is None:
            self._error = error
            self.leave(error)
        self._changed.set()

    # --- one attempt ------------------------------------------------------------------------

    async def _work(self, state: TaskState, site: _Site) -> None:
        who = object()
        if not await self._is_admitted(site.account, who):
            return
        try:
            began = self._note_begin(state, site)
            job = Job(
                self._ledger.plan.name, state.task, began, site.place, self._store,
                self._options, Path(self._ledger.plan.base), state.since,
            )  # fmt: skip
            self.live[state.task.id] = Live(
                task=state.task.id, place=site.place.name, session=began.session, since=began.at
            )
            job.limit(self._budget_left())
            self._jobs.add(job)
            try:
                await self._attempt(state, site, job, who)
            finally:
                self._jobs.discard(job)
        finally:
            site.account.heard(who)
            self.live.pop(state.task.id, None)

    async def _is_admitted(self, account: Account, who: object) -> bool:
        """Wait until the account lets it in; return whether it may begin."""
        entering = asyncio.ensure_future(account.enter(who))
        await asyncio.wait({entering, self._no_more}, return_when=asyncio.FIRST_COMPLETED)
        if self._no_more.done():
            entering.cancel()
            await asyncio.wait({entering})
            account.heard(who)
            return False
        return True

    def _note_begin(self, state: TaskState, site: _Site) -> Began:
        """Write down what is about to be done, before it is."""
        now = time.time()
        if state.open is None:
            began = Began(
                task=state.task.id, attempt=len(state.began) + 1, session=str(uuid.uuid4()),
                place=site.place.name, at=now,
            )  # fmt: skip
            self._note(began)
            return began
        if state.paused is not None:
            attempt = state.open.attempt
            self._note(Resumed(task=state.task.id, attempt=attempt, at=now))
        return state.open

    async def _attempt(self, state: TaskState, site: _Site, job: Job, who: object) -> None:
        try:
            await self._in_thread(self._starts, job.open)
        except BudgetExceeded as error:
            await self._end_over_budget(state, site, job, str(error))
        except (MPMError, OSError) as error:
            if _is_full(error):
                raise
            trouble = Trouble.PLACE_LOST if _is_of_the_place(error) else None
            result = await self._in_thread(self._rest, partial(job.fail, error, trouble))
            await self._note_end(state, site, job, result)
        else:
            seen = Seen()
            if await self._is_followed(site, job, seen, who):
                await self._settle(state, site, job, seen)

    async def _is_followed(self, site: _Site, job: Job, seen: Seen, who: object) -> bool:
        """Follow the turn to its end, or to that of its time; return whether this runner has it."""
        following = asyncio.ensure_future(self._follow(site, job, seen, who))
        waited_for: set[asyncio.Future[Any]] = {following, self._halting}
        await asyncio.wait(waited_for, timeout=job.time_left, return_when=asyncio.FIRST_COMPLETED)
        if following.done():
            following.result()
            return True
        if self.how is How.LEAVE:
            following.cancel()
            await asyncio.wait({following})
            await self._in_thread(self._rest, job.detach)
            return False
        if not self._halting.done():
            seen.time_out()
        await self._in_thread(self._rest, job.interrupt)
        await asyncio.wait({following}, timeout=_GRACE)
        following.cancel()
        await asyncio.wait({following})
        return True

    async def _follow(self, site: _Site, job: Job, seen: Seen, who: object) -> None:
        live = self.live[job.task.id]
        assert job.turn is not None
        async for item in job.turn.stream_async():
            if isinstance(item, str):
                live.say(item)
            elif isinstance(item, Question):
                live.ask(item)
            else:
                live.observe(item)
                seen.observe(item)
                if seen.worked:
                    site.account.heard(who)

    async def _settle(self, state: TaskState, site: _Site, job: Job, seen: Seen) -> None:
        """Decide what becomes of an attempt whose turn has ended, or was ended."""
        turn = job.turn
        assert turn is not None
        if not turn.done:
            await self._in_thread(self._rest, job.stop)
        trouble = await self._in_thread(self._rest, partial(trouble_of, turn))
        completed = turn.verdict.ok
        if self.how is How.END and not completed and not seen.timed_out:
            await self._note_pause(state, job, self.reason, seen)
        elif trouble is Trouble.RATE_LIMIT and trouble in self._ledger.limits.retry_on:
            until = site.account.park(seen.until)
            await self._note_pause(state, job, "rate limit", seen, until=until)
            self._open.append(state)
        elif turn.known.budget and not completed and not await self._is_its_own(job):
            await self._end_over_budget(state, site, job, turn.known.budget)
        else:
            await self._finish(state, site, job, seen)

    async def _finish(self, state: TaskState, site: _Site, job: Job, seen: Seen) -> None:
        """End an attempt; where the runner halts while its check runs, the next runs it again."""
        if self.how > How.DRAIN:
            job.over.set()
        try:
            result = await self._in_thread(self._rest, partial(job.finish, seen))
        except Abandoned:
            if self.how is How.LEAVE:
                await self._in_thread(self._rest, job.detach)
            else:
                await self._note_pause(state, job, self.reason, seen)
            return
        await self._note_end(state, site, job, result)

    async def _is_its_own(self, job: Job) -> bool:
        """Return whether the task has used up what it alone may use, and not the batch."""
        spent = await self._in_thread(self._rest, job.spent)
        cost, tokens = job.task.budget_usd, job.task.token_budget
        return (cost is not None and spent.cost_usd >= cost) or (
            tokens is not None and spent.tokens >= tokens
        )

    async def _end_over_budget(self, state: TaskState, site: _Site, job: Job, said: str) -> None:
        """End the task where the budget is its own; else it waits until the batch has more."""
        if await self._is_its_own(job):
            error = BudgetExceeded(said)
            result = await self._in_thread(self._rest, partial(job.fail, error, None))
            result = msgspec.structs.replace(result, outcome=Outcome.OVER_BUDGET)
            await self._note_end(state, site, job, result)
            return
        await self._note_pause(state, job, "budget", Seen())
        self.halt(How.END, "budget")

    # --- the outcome --------------------------------------------------------------------

    async def _note_pause(
        self, state: TaskState, job: Job, reason: str, seen: Seen, until: float | None = None
    ) -> None:
        spent = await self._in_thread(self._rest, job.pause)
        self._note(
            Paused(
                task=state.task.id, attempt=job.began.attempt, reason=reason, at=time.time(),
                until=until, worked=seen.worked, spent=spent,
            )
        )  # fmt: skip
        self._judge_limits()

    async def _note_end(self, state: TaskState, site: _Site, job: Job, result: Result) -> None:
        limits = self._ledger.limits
        again = result.trouble in limits.retry_on and state.tried < limits.attempts
        self._note(Ended(result=result, final=not again, at=time.time()))
        with suppress(MPMError, OSError):  # a checkout that stays is no harm; git lists it
            await self._in_thread(self._rest, job.clean_up)
        site.note(result.trouble)
        if again:
            pause = 0.0 if result.trouble is Trouble.PLACE_LOST else _pause(state.tried)
            heapq.heappush(self._later, (time.monotonic() + pause, self._begin(), state))
        elif not result.ok:
            self._failed += 1
        self._judge_limits()

    def _judge_limits(self) -> None:
        """Halt where the batch has used up what it may."""
        limits, total = self._ledger.limits, self._ledger.total
        if limits.max_failures is not None and self._failed >= limits.max_failures:
            self.halt(How.DRAIN, "failures")
        cost, tokens = limits.budget_usd, limits.token_budget
        if (cost is not None and total.cost_usd >= cost) or (
            tokens is not None and total.tokens >= tokens
        ):
            self.halt(How.END, "budget")

    def _budget_left(self) -> Spending | None:
        limits, total = self._ledger.limits, self._ledger.total
        if limits.budget_usd is None and limits.token_budget is None:
            return None
        cost = max(1e-6, limits.budget_usd - total.cost_usd) if limits.budget_usd else 0.0
        tokens = max(1, limits.token_budget - total.tokens) if limits.token_budget else 0
        return Spending(cost, tokens)

    def _note(self, entry: Entry) -> None:
        self._ledger.note(entry)
        self.entries.put_nowait(entry)

    def snapshot(self) -> Snapshot:
        """Return what goes on, without secrets."""
        now = time.time()
        running = [
            msgspec.structs.replace(live, what=self._redactor.text(live.what))
            for live in self.live.values()
        ]
        parked = {name: each.until for name, each in self._accounts.items() if each.until > now}
        return Snapshot(at=now, running=running, parked=parked)

    async def _note_live(self) -> None:
        """Note what goes on, for `batch status`, until this is cancelled."""
        nobody = asyncio.Event()
        while True:
            with suppress(OSError):  # it is worth nothing when the disk is full
                write_snapshot(self._ledger.folder, self.snapshot())
            with suppress(TimeoutError):
                await asyncio.wait_for(nobody.wait(), _LIVE_INTERVAL)

    async def _in_thread(self, executor: ThreadPoolExecutor, call: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(executor, call)


def _pause(times: int) -> float:
    """Return how long to wait after so many failures, in seconds."""
    return float(min(2.0 ** min(times, 16), _LONGEST_PAUSE))


def _is_full(error: BaseException) -> bool:
    """Return whether the disk takes no more, which is no task's fault."""
    cause = error.__cause__ if isinstance(error, StorageError) else error
    return isinstance(cause, OSError) and cause.errno in _FULL


def _is_of_the_place(error: BaseException) -> bool:
    if isinstance(error, _PLACE_FAILS):
        return True
    return isinstance(error, OSError) and not isinstance(error, MPMError)
