"""A batch on the screen: a live view on a terminal, one line per event in a pipe, its results."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Self

import msgspec

from claude_mpm.cli.export import render
from claude_mpm.cli.output import age, echo, echo_export, echo_json, is_plain
from claude_mpm.fleet.ledger import Began, Ended, Halted, Ledger, Paused, Resumed, current_runner
from claude_mpm.fleet.snapshot import read_snapshot
from claude_mpm.journal.rate_limited import clock
from claude_mpm.printable import one_line

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.cli.app import App
    from claude_mpm.fleet.batch import Batch
    from claude_mpm.fleet.ledger import Entry
    from claude_mpm.fleet.snapshot import Live

_COLUMNS = (
    "task", "outcome", "check", "verdict", "cost", "tokens", "seconds", "tickets", "attempt",
    "place", "session", "branch", "reason",
)  # fmt: skip
_ROWS = 20  # sessions that the live view shows
_WIDTH = 30  # characters of a bar


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One task as a table shows it."""

    task: str
    outcome: str
    check: str = ""
    verdict: str = ""
    cost: str = ""
    tokens: str = ""
    seconds: str = ""
    tickets: str = ""
    attempt: str = ""
    place: str = ""
    session: str = ""
    branch: str = ""
    reason: str = ""


def rows_of(ledger: Ledger, *, failed: bool) -> list[Row]:
    """Return a row for each task; for those that have not passed, where `failed`."""
    rows = []
    for state in ledger.tasks.values():
        result = state.last if state.ended else None
        if failed and (result is None or result.ok):
            continue
        if result is None:
            began = state.open
            where = (began.place, began.session[:8]) if began else ("", "")
            rows.append(
                Row(task=state.task.id, outcome=state.state, place=where[0], session=where[1])
            )
            continue
        rows.append(
            Row(
                task=result.task,
                outcome=str(result.outcome),
                check="" if result.check is None else str(result.check),
                verdict=result.verdict,
                cost=f"${result.cost_usd:.4f}",
                tokens=str(result.tokens),
                seconds=f"{result.seconds:.1f}",
                tickets=str(result.tickets),
                attempt=str(result.attempt),
                place=result.place,
                session=result.session[:8],
                branch=result.branch,
                reason=result.reason,
            )
        )
    return rows


def print_results(ledger: Ledger, form: str, *, failed: bool) -> None:
    """Print the outcome of each task."""
    if form in ("table", "markdown"):
        rows = rows_of(ledger, failed=failed)
        columns = [c for c in _COLUMNS if c in ("task", "outcome") or any(_has(rows, c))]
        echo_export(render(rows, columns, form))
        return
    results = [result for result in ledger.results() if not (failed and result.ok)]
    if form == "jsonl":
        for result in results:
            echo_json(msgspec.json.encode(result))
    else:
        columns = list(_COLUMNS)
        text = render(results, columns, form)
        echo_json(text.removesuffix("\n")) if form == "json" else echo_export(text)


def _has(rows: list[Row], column: str) -> list[bool]:
    return [getattr(row, column) not in ("", "0") for row in rows]


def counts(ledger: Ledger) -> dict[str, int]:
    """Return how many tasks are in each state."""
    found: dict[str, int] = {}
    for state in ledger.tasks.values():
        found[state.state] = found.get(state.state, 0) + 1
    return found


def counts_line(ledger: Ledger) -> str:
    """Return how many tasks came to what, and what all of it cost."""
    told = ", ".join(f"{number} {name}" for name, number in sorted(counts(ledger).items()))
    return f"{told} · ${ledger.total.cost_usd:.4f}"


def status_of(folder: Path) -> dict[str, Any]:
    """Return how far a batch is.

    Raises:
        StorageError: its folder is damaged.
    """
    ledger = Ledger(folder)
    runner = current_runner(folder)
    live = read_snapshot(folder) if runner is not None else None
    found = counts(ledger)
    ended = ledger.results()
    state = f"run by {runner}" if runner else _rests(ledger)
    return {
        "batch": ledger.plan.name,
        "state": state,
        "tasks": len(ledger.tasks),
        "passed": found.get("passed", 0),
        "failed": sum(not result.ok for result in ended),
        "counts": found,
        "cost": f"${ledger.total.cost_usd:.4f}",
        "cost_usd": ledger.total.cost_usd,
        "tokens": ledger.total.tokens,
        "projected_usd": _projected(ledger),
        "created_at": ledger.plan.created_at,
        "places": ledger.plan.places,
        "limits": ledger.limits,
        "running": live.running if live else [],
        "parked": live.parked if live else {},
        "noted_at": live.at if live else None,
        "folder": str(folder),
    }


def _rests(ledger: Ledger) -> str:
    if ledger.done:
        return "done"
    return f"left: {ledger.halted}" if ledger.halted else "left"


def _projected(ledger: Ledger) -> float:
    """Return what the batch costs in all if the rest costs what the mean of the others did."""
    ended = len(ledger.results())
    return ledger.total.cost_usd / ended * len(ledger.tasks) if ended else 0.0


def print_status(app: App, found: dict[str, Any]) -> None:
    """Print how far a batch is."""
    echo(f"{found['batch']}: {found['state']}")
    told = ", ".join(f"{number} {name}" for name, number in sorted(found["counts"].items()))
    echo(f"  tasks   {found['tasks']}: {told}")
    echo(f"  cost    {found['cost']}, about ${found['projected_usd']:.4f} in all")
    for account, until in found["parked"].items():
        echo(f"  parked  account {account} until {clock(until)}")
    for live in found["running"]:
        echo(f"  {_live_line(app, live)}")


def _live_line(app: App, live: Live) -> str:
    how = f"{live.what}: claude-mpm questions" if live.waits else live.what
    said = one_line(app.redactor.text(how))
    return f"{live.place}  {live.task}  {live.session[:8]}  {age(time.time() - live.since)}  {said}"


def entry_line(entry: Entry) -> str:
    """Return what happened in one line; empty where there is nothing to say."""
    match entry:
        case Began():
            again = f", attempt {entry.attempt}" if entry.attempt > 1 else ""
            return f"{entry.task} begins in {entry.place}, session {entry.session[:8]}{again}"
        case Paused():
            until = f" until {clock(entry.until)}" if entry.until else ""
            return f"{entry.task} stands still: {entry.reason}{until}"
        case Resumed():
            return f"{entry.task} goes on"
        case Ended(result=result):
            again = "" if entry.final else "; it is begun again"
            reason = f" ({result.reason})" if result.reason else ""
            told = f"{result.task} {result.outcome}{reason}"
            return f"{told}, ${result.cost_usd:.4f}, {result.seconds:.1f} s{again}"
        case Halted():
            return f"left: {entry.reason}"
    return ""


class LiveView:
    """Shows a batch while it runs; used with `with`.

    Args:
        app: what is asked for.
        batch: the batch.

    Attributes:
        is_live: whether there is a screen to draw on.
    """

    def __init__(self, app: App, batch: Batch) -> None:
        self._app = app
        self._batch = batch
        self._screen: Any = None
        self._begin = time.monotonic()
        self._ended_before = 0
        self.is_live = sys.stdout.isatty() and not (app.json or app.quiet or is_plain())

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._ended_before = len(self._batch.ledger.results())
        if self.is_live:
            from rich.live import Live as Screen

            self._screen = Screen(get_renderable=self._drawn, refresh_per_second=4, transient=True)
            self._screen.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the screen as it was."""
        if self._screen is not None:
            self._screen.stop()

    def show(self, entry: Entry) -> None:
        """Show that something has happened."""
        if self._app.json:
            echo_json(msgspec.json.encode(entry))
        elif not self.is_live and not self._app.quiet and (line := entry_line(entry)):
            said = one_line(self._app.redactor.text(line))
            echo(f"{time.strftime('%H:%M:%S')} {said}")
            sys.stdout.flush()

    def _drawn(self) -> Any:
        from rich.text import Text

        ledger, snapshot = self._batch.ledger, self._batch.runner.snapshot()
        ended, tasks = len(ledger.results()), len(ledger.tasks)
        full = _WIDTH * ended // max(1, tasks)
        head = (
            f"{'█' * full}{'░' * (_WIDTH - full)} {ended} of {tasks}{self._time_left(ended, tasks)}"
        )
        lines = [head, f"{counts_line(ledger)}, about ${_projected(ledger):.4f} in all"]
        for account, until in snapshot.parked.items():
            lines.append(f"account {account} is parked until {clock(until)}")
        waiting_first = sorted(snapshot.running, key=lambda live: (not live.waits, live.place))
        lines += [_live_line(self._app, live) for live in waiting_first[:_ROWS]]
        if len(waiting_first) > _ROWS:
            lines.append(f"… and {len(waiting_first) - _ROWS} more")
        return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")

    def _time_left(self, ended: int, tasks: int) -> str:
        since = ended - self._ended_before
        if not since:
            return ""
        seconds = (time.monotonic() - self._begin) / since * (tasks - ended)
        return f", about {age(seconds)} left"
