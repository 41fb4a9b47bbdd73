"""A process that watches a session which nobody follows, and notifies when it needs a person.

python -m claude_mpm.engine.session_watcher < WATCHED
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
from claude_mpm.errors import StorageError
from claude_mpm.folders import close_lock
from claude_mpm.journal.folder_watch import subscribe
from claude_mpm.journal.layout import SessionFolder
from claude_mpm.own_python import MARKS, own_environ, own_python
from claude_mpm.sessions.reader import LIVENESS_INTERVAL
from claude_mpm.sessions.status import read_status
from claude_mpm.sessions.store import Store

if TYPE_CHECKING:
    from claude_mpm.sessions.status import Status

_PAUSE = 1.0  # seconds between two looks, however much is written meanwhile
_LOG = "notify.log"


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """What the process that watches is given.

    Args:
        folder: the session's.
        state: the state folder.
        notify: who is notified, and how.
    """

    folder: str
    state: str
    notify: Notify


def start_watcher(folder: SessionFolder, store: Store, notify: Notify) -> None:
    """Start a process that watches a session to its end; it ends at once where one does already.

    Raises:
        OSError: it cannot be started.
    """
    # It outlives the session in which this process may run, and must not count as a part of it.
    environ = {name: value for name, value in own_environ().items() if name not in MARKS}
    watched = Watched(folder=str(folder.path), state=str(store.path), notify=notify)
    with open(folder.path / _LOG, "ab", opener=_open_privately) as log:
        process = subprocess.Popen(
            own_python("-m", "claude_mpm.engine.session_watcher"),
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
    assert process.stdin is not None
    with process.stdin:
        process.stdin.write(msgspec.json.encode(watched))
    # Mostly it outlives this process; else this thread, which shares nothing, reaps it.
    threading.Thread(target=process.wait, name="claude-mpm-reap", daemon=True).start()


def watch(folder: SessionFolder, store: Store, notify: Notify) -> None:
    """Notify of what happens in a session until its end.

    It returns at once where another process watches: the lock of `notified` is its for that time.

    Raises:
        StorageError: the session or the index cannot be read.
    """
    noted = folder.path / "notified"
    noted.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(noted, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another process watches
            return
        _watch_or_say(folder, store, Notifications(folder, notify))
    finally:
        close_lock(lock)


def _watch_or_say(folder: SessionFolder, store: Store, notifications: Notifications) -> None:
    """Watch a session; notify where it cannot be: what runs in its place may have caused that."""
    try:
        _watch(folder, store, notifications)
    except StorageError as error:
        found = {
            "event": "ended-badly",
            "id": "not watched",
            "reason": f"the session is not watched any more: {error}",
            "command": f"claude-mpm show {folder.path.name[:8]}",
        }
        _notify(folder, notifications, found)


def _watch(folder: SessionFolder, store: Store, notifications: Notifications) -> None:
    notified, seen, never = "", (-1, False), threading.Event()
    with closing(subscribe(folder.exchange)) as changes:
        while True:
            stamp = (folder.journal.size(), folder.has_ended())
            if stamp != seen:  # else nothing is read: a session can rest for days
                seen = stamp
                store.catch_up(folder)
                status = read_status(folder, store.index)
                notified = _look(folder, store, status, notifications, notified)
                if not status.state.runs:
                    return
            never.wait(_PAUSE)
            changes.wait(LIVENESS_INTERVAL)


def _look(
    folder: SessionFolder, store: Store, status: Status, notifications: Notifications, before: str
) -> str:
    """Notify of what is new; return a mark of the turn whose end was looked at last."""
    for asked in status.questions:
        _notify(folder, notifications, of_request(folder, asked.request_id, asked.request))
    mark = f"{status.uuid} {status.begin}"
    if not (status.begun and status.state in SETTLED) or mark == before:
        return before
    turn = read_turn(folder, store, status)
    if found := of_verdict(folder, turn.uuid, turn.verdict):
        _notify(folder, notifications, found)
    return mark


def _notify(folder: SessionFolder, notifications: Notifications, found: dict[str, Any]) -> None:
    meta = folder.read_meta()
    notifications.send_now(
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
        watch(SessionFolder(Path(watched.folder)), store, watched.notify)


if __name__ == "__main__":
    main()
