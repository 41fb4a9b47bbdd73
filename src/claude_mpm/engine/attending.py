"""Watching a session that nobody follows, to tell somebody when it needs a person.

python -m claude_mpm.engine.attending < WATCHED
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.engine.follow import SETTLED, read_turn
from claude_mpm.engine.notification import Notification, Notifications, Notify
from claude_mpm.engine.supervision.attention import of_request, of_verdict
from claude_mpm.journal.folder_watch import subscribe
from claude_mpm.journal.layout import SessionFolder
from claude_mpm.own_python import own_environ, own_python
from claude_mpm.sessions.reader import LIVENESS_INTERVAL
from claude_mpm.sessions.status import read_status
from claude_mpm.sessions.store import Store

if TYPE_CHECKING:
    from claude_mpm.sessions.status import Status

_PAUSE = 1.0  # seconds between two looks, however much is written meanwhile
_LOG = "notify.log"
_MARKS = ("CLAUDE_MPM_SESSION", "CLAUDE_MPM_FOLDER")


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """What the process that watches is given.

    Args:
        folder: the session's.
        state: the state folder.
        notify: who is told.
    """

    folder: str
    state: str
    notify: Notify


def attend_from_now(folder: SessionFolder, store: Store, notify: Notify) -> None:
    """Have a process watch a session until its end; nothing happens where one does already.

    Raises:
        OSError: it cannot be started.
    """
    # It outlives the session in which this process may run, and must not count as a part of it.
    environ = {name: value for name, value in own_environ().items() if name not in _MARKS}
    watched = Watched(folder=str(folder.path), state=str(store.path), notify=notify)
    with open(folder.path / _LOG, "ab", opener=_open_privately) as log:
        process = subprocess.Popen(
            own_python("-m", "claude_mpm.engine.attending"),
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
    assert process.stdin is not None
    with process.stdin:
        process.stdin.write(msgspec.json.encode(watched))
    # It outlives this process, most often; else it is reaped here.
    threading.Thread(target=process.wait, name="claude-mpm-reap", daemon=True).start()


def attend(folder: SessionFolder, store: Store, notify: Notify) -> None:
    """Tell of what happens in a session until its end; returns at once where another does."""
    noted = folder.path / "notified"
    noted.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(noted, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _attend(folder, store, Notifications(folder, notify))
    except BlockingIOError:
        return
    finally:
        os.close(lock)


def _attend(folder: SessionFolder, store: Store, notifications: Notifications) -> None:
    told, seen, nobody = "", (-1, False), threading.Event()
    with closing(subscribe(folder.exchange)) as changes:
        while True:
            stamp = (folder.journal.size(), folder.has_ended())
            if stamp != seen:  # else nothing is read: a session can rest for days
                seen = stamp
                store.catch_up(folder)
                status = read_status(folder, store.index)
                told = _look(folder, store, status, notifications, told)
                if not status.state.runs:
                    return
            nobody.wait(_PAUSE)
            changes.wait(LIVENESS_INTERVAL)


def _look(
    folder: SessionFolder, store: Store, status: Status, notifications: Notifications, told: str
) -> str:
    """Tell of what there is to tell; return the turn whose end was looked at last."""
    for asked in status.questions:
        _tell(folder, notifications, of_request(folder, asked.request_id, asked.request))
    mark = f"{status.uuid} {status.begin}"
    if not (status.begun and status.state in SETTLED) or mark == told:
        return told
    turn = read_turn(folder, store, status)
    if found := of_verdict(folder, turn.uuid, turn.verdict):
        _tell(folder, notifications, found)
    return mark


def _tell(folder: SessionFolder, notifications: Notifications, found: dict[str, Any]) -> None:
    meta = folder.read_meta()
    notifications.tell_now(
        Notification(
            session=meta.session_id,
            environment=meta.environment,
            cwd=meta.cwd,
            at=time.time(),
            **found,
        )
    )


def _open_privately(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def main() -> None:
    """Watch the session on standard input."""
    watched = msgspec.json.decode(sys.stdin.buffer.read(), type=Watched)
    with closing(Store(watched.state)) as store:
        attend(SessionFolder(Path(watched.folder)), store, watched.notify)


if __name__ == "__main__":
    main()
