"""Ending what runs of a batch, whoever runs it."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claude_mpm.errors import MPMError, NotOwner
from claude_mpm.fleet.attempt import Job
from claude_mpm.fleet.batch import STOP_FILE
from claude_mpm.fleet.ledger import BatchLock, Halted, Ledger, Paused, current_runner
from claude_mpm.journal.lease import machine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from claude_mpm.fleet.ledger import TaskState
    from claude_mpm.fleet.places import Place
    from claude_mpm.sessions.store import Store

_PATIENCE = 60.0  # seconds for a runner to interrupt all that it follows
_PAUSE = 0.1


def stop_batch(
    folder: Path, places: Sequence[Place], store: Store, options: Mapping[str, Any]
) -> tuple[int, dict[str, str]]:
    """Interrupt every session of a batch that runs.

    Returns:
        How many were, and by their tasks why others may run on.

    Args:
        folder: of the batch.
        places: where its sessions run.
        options: as the runner has them.

    Raises:
        NotOwner: who runs it does not release it.
        StorageError: the folder cannot be written.
    """
    (folder / STOP_FILE).touch(mode=0o600)
    runner = current_runner(folder)
    if runner is not None and runner.host == machine():
        with suppress(ProcessLookupError):
            os.kill(runner.pid, signal.SIGTERM)
    before = sum(map(_may_run, Ledger(folder).tasks.values()))
    by_name = {place.name: place for place in places}
    run_on: dict[str, str] = {}
    with _wait_for_lock(folder), closing(store):
        ledger = Ledger(folder)
        with closing(ledger):
            left = [state for state in ledger.tasks.values() if _may_run(state)]
            for state in left:
                if problem := _stop(ledger, state, by_name, store, options):
                    run_on[state.task.id] = problem
            if left:
                ledger.note(Halted(reason="stopped", at=time.time()))
    (folder / STOP_FILE).unlink(missing_ok=True)
    return before - len(run_on), run_on


def _may_run(state: TaskState) -> bool:
    return state.open is not None and state.paused is None


def _wait_for_lock(folder: Path) -> BatchLock:
    deadline, nobody = time.monotonic() + _PATIENCE, threading.Event()
    while True:
        try:
            return BatchLock(folder)
        except NotOwner:
            if time.monotonic() > deadline:
                raise
        nobody.wait(_PAUSE)


def _stop(
    ledger: Ledger,
    state: TaskState,
    places: Mapping[str, Place],
    store: Store,
    options: Mapping[str, Any],
) -> str:
    """End the session of an open attempt, which can go on later; return why it may run on."""
    began = state.open
    if began is None:
        return ""
    if began.place not in places:
        return f"it is in the place {began.place!r}; name it as well: --on {began.place}"
    job = Job(
        ledger.plan.name, state.task, began, places[began.place], store, options,
        Path(ledger.plan.base), state.since,
    )  # fmt: skip
    try:
        spent = job.end()
    except MPMError as error:
        if not job.folder.has_ended():  # the attempt stays open, and `resume` takes it up
            return str(error)
        spent = job.spent_or_nothing()
    ledger.note(
        Paused(
            task=began.task, attempt=began.attempt, reason="stopped", at=time.time(), spent=spent
        )
    )
    return ""
