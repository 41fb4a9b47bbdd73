"""Waiting for a session folder to change, without asking again and again.

One thread serves every session of the process: on Linux it sleeps in inotify. Elsewhere, and on
file systems that report nothing, waiting falls back to looking every `POLL_INTERVAL` seconds.
"""

from __future__ import annotations

import contextlib
import os
import select
import struct
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

POLL_INTERVAL = 0.02
_IN_MODIFY, _IN_MOVED_TO = 0x2, 0x80
_EVENT_HEAD = struct.Struct("iIII")


class Subscription:
    """One follower's alarm clock for one folder.

    Args:
        polls: whether it looks every `POLL_INTERVAL` seconds, because nothing wakes it.
        on_wake: called too, from any thread, where something does.
    """

    def __init__(self, on_wake: Callable[[], None] | None = None, *, polls: bool = True) -> None:
        self.polls = polls
        self._on_wake = on_wake
        self._rung = threading.Event()
        self._renamed = False
        self._longest = POLL_INTERVAL if polls else threading.TIMEOUT_MAX
        self._on_close: Callable[[], None] | None = None

    def wait(self, timeout: float) -> bool:
        """Wait until the folder may have changed, `wake` was called or `timeout` seconds passed.

        Returns:
            False where files were written to, and that is all.
        """
        rung = self._rung.wait(max(0.0, min(timeout, self._longest)))
        self._rung.clear()
        renamed, self._renamed = self._renamed, False
        return renamed or not rung or self.polls

    def wake(self, *, renamed: bool = True) -> None:
        """End the wait, from any thread.

        Args:
            renamed: whether more may have happened than that a file was written to.
        """
        self._renamed = self._renamed or renamed
        self._rung.set()
        if self._on_wake is not None:
            self._on_wake()

    def close(self) -> None:
        """Stop watching; safe to call twice."""
        if self._on_close is not None:
            self._on_close()
            self._on_close = None


class _Inotify:
    """The kernel's notices about folders, handed to the subscriptions by one thread."""

    def __init__(self) -> None:
        import ctypes

        self._libc = ctypes.CDLL(None, use_errno=True)
        self._lock = threading.Lock()
        self._watches: dict[int, list[Subscription]] = {}
        self._descriptor = -1
        self._wake_read = self._wake_write = -1

    def subscribe(self, folder: Path, on_wake: Callable[[], None] | None = None) -> Subscription:
        with self._lock:
            if self._descriptor < 0:
                self._start()
            watch = self._libc.inotify_add_watch(
                self._descriptor, os.fsencode(folder), _IN_MODIFY | _IN_MOVED_TO
            )
            if watch < 0:
                self._stop_if_unused()
                return Subscription()
            subscription = Subscription(on_wake, polls=False)
            self._watches.setdefault(watch, []).append(subscription)
        subscription._on_close = lambda: self._unsubscribe(watch, subscription)
        return subscription

    def _unsubscribe(self, watch: int, subscription: Subscription) -> None:
        with self._lock:
            subscriptions = self._watches.get(watch, [])
            if subscription in subscriptions:
                subscriptions.remove(subscription)
            if not subscriptions:
                self._watches.pop(watch, None)
                self._libc.inotify_rm_watch(self._descriptor, watch)
            self._stop_if_unused()

    def _start(self) -> None:
        descriptor = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if descriptor < 0:
            raise OSError("inotify cannot be had")
        self._descriptor = descriptor
        self._wake_read, self._wake_write = os.pipe()
        arguments = (descriptor, self._wake_read)
        threading.Thread(
            target=self._serve, args=arguments, name="claude-mpm-watch", daemon=True
        ).start()

    def _stop_if_unused(self) -> None:
        """Let the thread end with the last subscription; it closes what it reads."""
        if not self._watches and self._descriptor >= 0:
            os.close(self._wake_write)
            self._descriptor = self._wake_read = self._wake_write = -1

    def _serve(self, descriptor: int, wake: int) -> None:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.register(wake, select.POLLIN)
        try:
            while all(ready != wake for ready, _ in poll.poll()):
                with contextlib.suppress(BlockingIOError):
                    self._ring(os.read(descriptor, 1 << 16))
        finally:
            os.close(descriptor)
            os.close(wake)

    def _ring(self, notices: bytes) -> None:
        position, changed = 0, dict[int, int]()
        while position < len(notices):
            watch, mask, _, length = _EVENT_HEAD.unpack_from(notices, position)
            changed[watch] = changed.get(watch, 0) | mask
            position += _EVENT_HEAD.size + length
        with self._lock:
            rung = [(s, mask) for watch, mask in changed.items() for s in self._of(watch)]
        for subscription, mask in rung:
            subscription.wake(renamed=mask != _IN_MODIFY)

    def _of(self, watch: int) -> list[Subscription]:
        """Return a folder's subscriptions; all of them where notices were lost."""
        if watch >= 0:
            return self._watches.get(watch, [])
        return [each for subscriptions in self._watches.values() for each in subscriptions]


_inotify: _Inotify | None = None


def subscribe(folder: Path, on_wake: Callable[[], None] | None = None) -> Subscription:
    """Return an alarm clock for changes of the files in `folder`; close it when done.

    Args:
        on_wake: called at each change, in a thread of its own, unless the clock `polls`.
    """
    global _inotify
    if not sys.platform.startswith("linux"):
        return Subscription()
    if _inotify is None:
        _inotify = _Inotify()
    try:
        return _inotify.subscribe(folder, on_wake)
    except OSError:
        return Subscription()
