"""One attempt at a task: its session is begun or taken up, followed, checked and ended.

All here waits, and is called in threads; the runner decides what is done when.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.conversation.verdict import Outcome as TurnOutcome
from claude_mpm.engine.follow import read_turn
from claude_mpm.environments.variables import inherited
from claude_mpm.errors import LaunchError, MPMError, UsageError
from claude_mpm.fleet.checkout import Checkout, finish_checkout, make_checkout, remove_checkout
from claude_mpm.fleet.in_place import Done, run_in_place
from claude_mpm.fleet.task import Outcome, Result, Trouble
from claude_mpm.orchestration.factory import find_orchestrator
from claude_mpm.printable import one_line
from claude_mpm.records import Spending
from claude_mpm.redaction import Redactor, secrets_of
from claude_mpm.sessions.delivery import Fate
from claude_mpm.sessions.status import prompt_fates, read_status
from claude_mpm.wire.events import rate_limit
from claude_mpm.wire.text_lines import is_claude_code_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from claude_mpm.conversation.turn import Turn
    from claude_mpm.environments.base import Environment
    from claude_mpm.fleet.ledger import Began
    from claude_mpm.fleet.places import Place
    from claude_mpm.fleet.task import Task
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.sessions.store import Store
    from claude_mpm.wire.events import Event

CONTINUE = "Continue from where you left off."
_OVER = (Fate.FINISHED, Fate.DROPPED)
_REFUSED, _OVERLOADED = 429, frozenset({500, 502, 503, 504, 529})
_LONGEST_REASON = 400  # characters


class Seen(msgspec.Struct):
    """What came by while a turn was followed.

    Args:
        until: when the rate limit is lifted that refused it, in seconds since the epoch; None
            where Claude's latest report refuses nothing, or names no moment.
        worked: whether Claude did anything for the prompt.
        tickets: how many were named.
        timed_out: whether its time was up.
    """

    until: float | None = None
    worked: bool = False
    tickets: int = 0
    timed_out: bool = False

    def observe(self, event: Event) -> None:
        """Count what an event of the turn says."""
        match event.kind:
            case "assistant" if not is_claude_code_text(event.data):
                self.worked = True
            case "ticket":
                self.tickets += 1
            case "unknown" if limit := rate_limit(event):
                self.until = limit.until

    def time_out(self) -> None:
        """Note that the turn's time is up."""
        self.timed_out = True


class Job:
    """What there is to do for one attempt.

    Args:
        batch: the name of the batch.
        task: the task.
        began: the attempt.
        place: where.
        store: all sessions of this user.
        options: keyword arguments of an orchestrator that hold for every task.
        base: the folder from which relative paths of this machine are meant.
        since: when the attempt was begun, or last gone on with, in seconds since the epoch.

    Attributes:
        claude: the orchestrator; None where the session needs none.
        turn: the one of the task, once it is open.
        over: set in the runner's loop when nobody waits for the check any more.
    """

    def __init__(
        self,
        batch: str,
        task: Task,
        began: Began,
        place: Place,
        store: Store,
        options: Mapping[str, Any],
        base: Path,
        since: float,
    ) -> None:
        self.task = task
        self.began = began
        self.place = place
        self.store = store
        self.folder: SessionFolder = store.folder(began.session)
        self.claude: Any = None
        self.turn: Turn | None = None
        self.over = threading.Event()
        self._batch = batch
        self._base = base
        self._unchanged = False
        self._since = since
        self._asked = False  # whether the turn was asked for here, and keeps its time itself
        self._options = _merged(options, place.options, task.options())

    @property
    def timeout(self) -> float | None:
        """How long the turn may take, in seconds."""
        found = self.task.timeout or self._options.get("timeout")
        return None if found is None else float(found)

    @property
    def time_left(self) -> float | None:
        """How long a turn may still take that another runner began; None where it has no limit."""
        if self.timeout is None or self._asked:
            return None
        return max(1.0, self._since + self.timeout - time.time())

    def limit(self, left: Spending | None) -> None:
        """Let the session use no more than what is left.

        Args:
            left: of the batch's budget; an amount of 0 is no limit. None for no budget.
        """
        if left is None:
            return
        for name, amount in (
            ("session_cost_limit_usd", left.cost_usd),
            ("session_token_limit", left.tokens),
        ):
            if amount > 0:
                own = self._options.get(name)
                self._options[name] = amount if own is None else min(own, amount)

    # --- begin and go on --------------------------------------------------------------------

    def open(self) -> None:
        """Begin the session, or take it up; then `turn` is the one of the task.

        Where the turn has ended, `claude` is None, unless something is to be run beside it.

        Raises:
            MPMError: the place refused, or something cannot be meant.
        """
        if not self.folder.meta_file.exists():
            self._start(resume=False, cwd=self._working_folder())
            self._ask(self.task.prompt)
            return
        self.store.catch_up(self.folder)
        known = prompt_fates(self.folder, self.store.index)
        if not known:
            self._start(resume=True)
            self._ask(self.task.prompt)
        elif known[-1][1] in _OVER:
            self._take_up_finished()
        else:
            self._start(resume=True)
            uuid = known[-1][0].uuid
            self.turn = next((t for t in self.claude.turns_before if t.uuid == uuid), None)
            if self.turn is None:  # it has ended meanwhile
                self.stop()
                self._take_up_finished()

    def _take_up_finished(self) -> None:
        """Read the ended turn, and go on with the prompt where that is not done with it."""
        self.store.catch_up(self.folder)
        self.turn = read_turn(self.folder, self.store, read_status(self.folder, self.store.index))
        stood_still = self.turn.verdict.outcome is TurnOutcome.INTERRUPTED
        if stood_still or trouble_of(self.turn) is Trouble.RATE_LIMIT:
            self._start(resume=True)
            self._ask(CONTINUE if _has_worked(self.turn) else self.task.prompt)
        elif self.task.check is not None and not self._sees_this_machine():
            self._start(resume=True)

    def _sees_this_machine(self) -> bool:
        environment = self._make(resume=True).environment
        return bool(environment.shares_files and environment.keeps_files)

    def _start(self, *, resume: bool, cwd: str | None = None) -> None:
        self.claude = self._make(resume=resume, cwd=cwd)
        self.claude.start_or_raise()

    def _ask(self, prompt: str) -> None:
        self.turn = self.claude.ask(prompt, timeout=self.timeout)
        self._asked = True

    def _make(self, *, resume: bool, cwd: str | None = None) -> Any:
        cls = find_orchestrator(self.place.orchestrator).cls
        options = {name: value for name, value in self._options.items() if name != "timeout"}
        if resume:
            cwd = self.folder.read_meta().cwd or None
        # A refusal parks all sessions of an account, which is not for one of them to do.
        own = {"session_id": self.began.session, "state_dir": str(self.store.path), "cwd": cwd}
        try:
            return cls(**{**options, **own, "resume": resume, "wait_for_rate_limit": None})
        except TypeError as error:
            raise UsageError(
                f"place {self.place.name!r} cannot be made: {error}; correct its options"
            ) from error

    def _working_folder(self) -> str | None:
        """Return the folder to work in, which is made where the task has one of its own."""
        asked = self.task.cwd or self._options.get("cwd")
        environment = self._make(resume=False).environment
        if not self.task.has_checkout:
            return self._located(environment, asked) if asked else None
        return make_checkout(self._checkout(environment), environment.wrap, self._environ())

    def _checkout(self, environment: Environment) -> Checkout:
        asked = self.task.repository or self.task.cwd or self._options.get("cwd") or "."
        began = self.began
        suffix = f"-{began.attempt}" if began.attempt > 1 else ""
        return Checkout(
            repository=self._located(environment, asked),
            revision=self.task.revision or "HEAD",
            branch=f"batch/{self._batch}/{began.task}{suffix}" if self.task.worktree else "",
            name=f"{self._batch}-{began.task}{suffix}",
            message=f"{began.task} of the batch {self._batch}",
        )

    def _located(self, environment: Environment, path: str) -> str:
        """Return a path as the place knows it: on this machine, it is meant from the base."""
        if not environment.shares_files:
            return path
        return str(self._base / os.path.expanduser(path))  # noqa: PTH111 -- `~` may be nobody's

    # --- the end ----------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Ask Claude to end the turn."""
        if self.turn is not None:
            self.turn.interrupt()

    def detach(self) -> None:
        """Release Claude, which goes on."""
        if self.claude is not None:
            self.claude.detach()

    def stop(self) -> None:
        """End Claude, if there is one, also one that another runner has left waiting."""
        if self.claude is not None:
            self.claude.stop()
        elif self.folder.meta_file.exists() and not self.folder.has_ended():
            self._end_other()

    def _end_other(self) -> None:
        claude = self._make(resume=True)
        try:
            claude.end_session()
        finally:
            claude.stop()

    def end(self) -> Spending:
        """End the Claude of the session, whoever follows it, and return what it has used.

        Raises:
            MPMError: it cannot be reached.
        """
        if not self.folder.meta_file.exists():
            return Spending()
        if not self.folder.has_ended():
            self._end_other()
        return self.spent()

    def spent(self) -> Spending:
        """Return what the session has used."""
        self.store.catch_up(self.folder)
        return self.store.index.spent(self.began.session)

    def pause(self) -> Spending:
        """End Claude for now, and return what the session has used."""
        self.stop()
        return self.spent()

    def finish(self, seen: Seen) -> Result:
        """Run the check, end Claude, see to the checkout, and say how the attempt ended.

        Raises:
            Abandoned: `over` was set while the check ran.
            StorageError: what the session used cannot be read.
        """
        turn = self.turn
        assert turn is not None
        trouble = trouble_of(turn)
        outcome, reason = _outcome(turn, seen)
        check: Done | None = None
        if self.task.check is not None and trouble is None and not turn.known.budget:
            check, outcome, reason = self._measured(outcome, reason)
        self.stop()
        kept, folder, problem = self._keep_checkout()
        result = self._result(outcome, "; ".join(filter(None, (reason, problem))), seen)
        return msgspec.structs.replace(
            result,
            trouble=trouble if check is None else None,
            verdict=str(turn.verdict.outcome),
            check=check.status if check is not None else None,
            branch=kept,
            folder=folder,
        )

    def fail(self, error: MPMError | OSError, trouble: Trouble | None) -> Result:
        """Say that the attempt could not be begun, or followed; end what there is of it."""
        with suppress(MPMError):  # what was wrong with its start may be wrong with its end
            self.stop()
        outcome = Outcome.LOST if trouble is Trouble.PLACE_LOST else Outcome.FAILED
        result = self._result(outcome, str(error), Seen())
        return msgspec.structs.replace(result, trouble=trouble)

    def _result(self, outcome: Outcome, reason: str, seen: Seen) -> Result:
        spent, began = self.spent_or_nothing(), self.began
        redactor = Redactor(secrets=secrets_of(os.environ))
        return Result(
            task=began.task,
            attempt=began.attempt,
            outcome=outcome,
            reason=one_line(redactor.text(reason))[:_LONGEST_REASON],
            cost_usd=round(spent.cost_usd, 6),
            tokens=spent.tokens,
            seconds=round(time.time() - began.at, 3),
            tickets=seen.tickets,
            session=began.session,
            place=self.place.name,
        )

    def spent_or_nothing(self) -> Spending:
        """Return what the session has used; nothing where there never was one."""
        if not self.folder.meta_file.exists():
            return Spending()
        return self.spent()

    def _measured(self, outcome: Outcome, reason: str) -> tuple[Done | None, Outcome, str]:
        """Run the check, and say what that makes of the task."""
        try:
            done = self._run_check()
        except (LaunchError, OSError) as error:
            return None, Outcome.FAILED, f"the check could not be run: {error}"
        if done.hung:
            limit = self.task.check_timeout
            return done, Outcome.FAILED, f"the check did not end in {limit:g} seconds"
        if done.status is None:
            return done, Outcome.FAILED, f"the check was not run to its end: {done.said}"
        if done.status:
            said = f": {done.said}" if done.said else ""
            return done, Outcome.FAILED, f"the check ended with {done.status}{said}"
        return done, Outcome.PASSED, ""

    def _run_check(self) -> Done:
        check = self.task.check
        argv = ["sh", "-c", check] if isinstance(check, str) else list(check or ())
        environment: Environment = (self.claude or self._make(resume=True)).environment
        wrap = environment.wrap
        if self.claude is not None:
            wrap = partial(environment.wrap_in, self.folder)
        marks = {"CLAUDE_MPM_SESSION": self.began.session}
        if environment.shares_files:  # what the check leaves behind ends with the session
            marks["CLAUDE_MPM_FOLDER"] = str(self.folder.path)
        return run_in_place(
            wrap,
            argv,
            folder=self.folder.read_meta().cwd,
            timeout=self.task.check_timeout,
            environ=self._environ(),
            marks=marks,
            over=self.over,
        )

    def _keep_checkout(self) -> tuple[str, str, str]:
        """Return the branch and the folder that stay, and what went wrong with them."""
        if not self.task.has_checkout or not self.folder.meta_file.exists():
            return "", "", ""
        folder = self.folder.read_meta().cwd
        environment = (self.claude or self._make(resume=True)).environment
        checkout = self._checkout(environment)
        try:
            kept = finish_checkout(checkout, folder, environment.wrap, self._environ())
        except (LaunchError, OSError) as error:
            return checkout.branch, folder, str(error)
        self._unchanged = not kept
        return (checkout.branch, folder, "") if kept else ("", "", "")

    def clean_up(self) -> None:
        """Remove a checkout in which nothing was changed; called when the log has the end.

        Raises:
            LaunchError: git refuses.
        """
        if self._unchanged:
            self._unchanged = False
            environment = (self.claude or self._make(resume=True)).environment
            folder = self.folder.read_meta().cwd
            checkout = self._checkout(environment)
            remove_checkout(checkout, folder, environment.wrap, self._environ())

    def _environ(self) -> dict[str, str]:
        return inherited(self._options.get("environ"))


def trouble_of(turn: Turn) -> Trouble | None:
    """Return what infrastructure did to a turn that has ended; None where that was nothing."""
    verdict = turn.verdict
    if verdict.outcome is TurnOutcome.LOST:
        return Trouble.PLACE_LOST
    last = turn.results[-1] if turn.results else None
    if verdict.outcome is not TurnOutcome.FAILED or last is None or not last.is_error:
        return None
    if last.api_error_status == _REFUSED:
        return Trouble.RATE_LIMIT
    return Trouble.OVERLOADED if last.api_error_status in _OVERLOADED else None


def _outcome(turn: Turn, seen: Seen) -> tuple[Outcome, str]:
    """Return what a turn makes of a task without a check."""
    verdict = turn.verdict
    if verdict.ok:
        return Outcome.PASSED, ""
    if seen.timed_out or verdict.outcome in (TurnOutcome.TIMED_OUT, TurnOutcome.STALLED):
        return Outcome.TIMED_OUT, verdict.reason or "the turn's time was up"
    if turn.known.budget:
        return Outcome.OVER_BUDGET, verdict.reason
    if verdict.outcome is TurnOutcome.LOST:
        return Outcome.LOST, verdict.reason
    return Outcome.FAILED, verdict.reason or str(verdict.outcome)


def _has_worked(turn: Turn) -> bool:
    """Return whether anything was done for a prompt."""
    events = (item for item in turn.stream() if not isinstance(item, str))
    return any(
        getattr(event, "kind", "") == "assistant" and not is_claude_code_text(event.data)  # type: ignore[union-attr]
        for event in events
    )


def _merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return keyword arguments of which the later layers win; settings have their own names."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= {
            "framework_path" if name == "framework" else name: value
            for name, value in layer.items()
        }
    return merged
