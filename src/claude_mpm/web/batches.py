"""Batches for the page: how far each has come, and the outcome of each task."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from claude_mpm.errors import StorageError
from claude_mpm.fleet.ledger import Ledger, batch_names, current_runner, find_batch
from claude_mpm.printable import one_line
from claude_mpm.redaction import Redactor
from claude_mpm.web.models import BatchDetail, BatchList, BatchRow, TaskRow

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.fleet.ledger import TaskState
    from claude_mpm.sessions.store import Store

_PROMPT = 200  # characters of a prompt in the list


def read_batches(store: Store) -> BatchList:
    """Return all batches, the newest first; a damaged one has its damage in `halted`.

    Raises:
        StorageError: others can write to the folder of batches.
    """
    names = batch_names(store.path)
    return BatchList(batches=[_read_row(find_batch(store.path, name)) for name in names])


def read_batch(store: Store, name: str) -> BatchDetail:
    """Return a batch with its tasks, in the order of the task file.

    Raises:
        UnknownSession: there is none.
        StorageError: it is damaged.
    """
    ledger = Ledger(find_batch(store.path, name))
    redactor = Redactor()
    tasks = [_task(state, redactor) for state in ledger.tasks.values()]
    return BatchDetail(batch=_row(ledger), tasks=tasks)


def _read_row(folder: Path) -> BatchRow:
    try:
        return _row(Ledger(folder))
    except StorageError as error:
        return BatchRow(name=folder.name, state="damaged", halted=one_line(error))


def _row(ledger: Ledger) -> BatchRow:
    runner = current_runner(ledger.folder)
    state = "done" if ledger.done else "running" if runner is not None else "left"
    counts = Counter(state.state for state in ledger.tasks.values())
    return BatchRow(
        name=ledger.plan.name,
        state=state,
        halted=ledger.halted,
        created_at=ledger.plan.created_at,
        places=ledger.plan.places,
        tasks=len(ledger.tasks),
        ended=sum(state.ended for state in ledger.tasks.values()),
        counts=dict(counts),
        cost_usd=ledger.total.cost_usd,
        budget_usd=ledger.limits.budget_usd,
    )


def _task(state: TaskState, redactor: Redactor) -> TaskRow:
    last, begun = state.last, state.began[-1] if state.began else None
    return TaskRow(
        id=state.task.id,
        state=state.state,
        prompt=one_line(redactor.text(state.task.prompt[: 4 * _PROMPT]))[:_PROMPT],
        session=begun.session if begun else "",
        place=begun.place if begun else "",
        attempts=len(state.began),
        reason=one_line(redactor.text(last.reason)) if last else "",
        cost_usd=last.cost_usd if last else 0.0,
        seconds=last.seconds if last else None,
        check=last.check if last else None,
        branch=last.branch if last else "",
    )
