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
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

POLL_INTERVAL = 0.02
_IN_MODIFY, _IN_MOVED_TO = 0x2, 0x80
_EVENT_HEAD = struct.Struct("iIII")
_TICK = 1.0  # seconds
_LOOKS = 250  # so many of those that are served are looked at in one tick
# Where many folders change, their notices are gathered, since to wake costs more than a line does:
# a millisecond for every so many folders.
_MANY, _LONGEST = 15, 20


class Served(Protocol):
    """What the watching thread itself does for a folder. Nothing of it may wait, or raise."""

    def on_change(self, renamed: bool, /) -> bool:
        """Take note of a change; called again soon where it returns true.

        Args:
            renamed: whether more may have happened than that a file was written to. That is said
                once in a while, too, where there is no notice at all.
        """

    def on_tick(self) -> None:
        """Called once a second."""


class Subscription:
    """One follower's alarm clock for one folder.

    Args:
        on_wake: called too, from any thread, where something wakes it.
        loop: what wakes it; without one, it looks every `POLL_INTERVAL` seconds.
        watch: the folder's number there.

    Attributes:
        polls: whether nothing wakes it.
        served: who is told in its stead.
    """

    __slots__ = ("_bell", "_loop", "_on_wake", "_renamed", "_watch", "polls", "served")

    def __init__(
        self,
        on_wake: Callable[[], None] | None = None,
        *,
        loop: _Loop | None = None,
        watch: int = 0,
    ) -> None:
        self.polls = loop is None
        self.served: Served | None = None
        self._on_wake = on_wake
        self._loop = loop
        self._watch = watch
        self._renamed = False
        self._bell = threading.Lock()  # free once it was rung
        self._bell.acquire()

    def wait(self, timeout: float) -> bool:
        """Wait until the folder may have changed, `wake` was called or `timeout` seconds passed.

        Returns:
            False where files were written to, and that is all.
        """
        longest = POLL_INTERVAL if self.polls else threading.TIMEOUT_MAX
        rung = self._bell.acquire(timeout=max(0.0, min(timeout, longest)))
        renamed, self._renamed = self._renamed, False
        return renamed or not rung or self.polls

    def wake(self, *, renamed: bool = True) -> None:
        """End the wait, from any thread.

        Args:
            renamed: whether more may have happened than that a file was written to.
        """
        loop = self._loop
        if self.served is not None and loop is not None:
            loop.nudge(self)
            return
        self._renamed = self._renamed or renamed
        with contextlib.suppress(RuntimeError):  # it was rung, and nobody has heard it yet
            self._bell.release()
        if self._on_wake is not None:
            self._on_wake()

    def serve(self, served: Served | None) -> None:
        """Let the watching thread tell somebody of each change, the first time at once.

        Args:
            served: who is told; None for nobody any more.
        """
        self.served = served
        if self._loop is not None:
            self._loop.serve(self, wanted=served is not None)

    def close(self) -> None:
        """Stop watching; safe to call twice."""
        loop, self._loop = self._loop, None
        self.served = None
        if loop is not None:
            loop.remove(self._watch, self)


class _Loop:
    """One run of the watching thread, from the first subscription to the last.

    Args:
        libc: has the calls of inotify.
        lock: of all runs.

    Attributes:
        over: whether the last subscription has gone.
    """

    def __init__(self, libc: Any, lock: threading.Lock) -> None:
        self.over = False
        self._libc = libc
        self._lock = lock
        self._watches: dict[int, tuple[Subscription, ...]] = {}
        self._served: dict[Subscription, None] = {}
        self._nudged: deque[Subscription] = deque()
        self._descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError("inotify cannot be had")
        self._wake_read, self._wake_write = os.pipe()
        self._changed: dict[Subscription, bool] = {}
        self._lately: set[Subscription] = set()  # told of a change since the last tick
        self._gathering = 0  # milliseconds
        self._ticks = 0
        threading.Thread(target=self._run, name="claude-mpm-watch", daemon=True).start()

    # --- from any thread --------------------------------------------------------------------

    def add(self, folder: Path, on_wake: Callable[[], None] | None) -> Subscription:
        """Watch a folder; called with the lock held."""
        mask = _IN_MODIFY | _IN_MOVED_TO
        watch = self._libc.inotify_add_watch(self._descriptor, os.fsencode(folder), mask)
        if watch < 0:
            self._stop_if_unused()
            return Subscription()
        subscription = Subscription(on_wake, loop=self, watch=watch)
        self._watches[watch] = (*self._watches.get(watch, ()), subscription)
        return subscription

    def remove(self, watch: int, subscription: Subscription) -> None:
        """Watch a folder for one subscription less."""
        with self._lock:
            self._served.pop(subscription, None)
            there = self._watches.get(watch, ())
            if subscription not in there:
                return
            self._watches[watch] = tuple(each for each in there if each is not subscription)
            if not self._watches[watch]:
                del self._watches[watch]
                self._libc.inotify_rm_watch(self._descriptor, watch)
            self._stop_if_unused()

    def serve(self, subscription: Subscription, *, wanted: bool) -> None:
        """Begin, or cease, to tell the time to who is served."""
        with self._lock:
            if wanted:
                self._served[subscription] = None
            else:
                self._served.pop(subscription, None)
        if wanted:
            self.nudge(subscription)

    def nudge(self, subscription: Subscription) -> None:
        """Let the thread tell a subscription that all may have changed."""
        with self._lock:
            self._nudged.append(subscription)
            if len(self._nudged) == 1 and not self.over:
                os.write(self._wake_write, b"!")

    def _stop_if_unused(self) -> None:
        """Let the thread end with the last subscription; it closes what it reads."""
        if not self._watches:
            self.over = True
            os.close(self._wake_write)

    # --- in the thread ----------------------------------------------------------------------

    def _run(self) -> None:
        nudges, all_ = select.poll(), select.poll()
        nudges.register(self._wake_read, select.POLLIN)
        all_.register(self._wake_read, select.POLLIN)
        all_.register(self._descriptor, select.POLLIN)
        next_tick = time.monotonic() + _TICK
        try:
            while True:
                if self._gathering and not self._changed:
                    ready = nudges.poll(self._gathering)
                else:
                    ready = all_.poll(self._patience(next_tick))
                nudged = any(descriptor == self._wake_read for descriptor, _ in ready)
                if nudged and not os.read(self._wake_read, 1 << 12):
                    return
                self._listen()
                self._tell()
                if (now := time.monotonic()) >= next_tick:
                    next_tick = now + _TICK
                    self._tell_time()
        finally:
            os.close(self._descriptor)
            os.close(self._wake_read)

    def _patience(self, next_tick: float) -> float | None:
        """Return how long nothing need be done, in milliseconds; None for however long."""
        if self._changed:
            return 0
        return max(0.0, next_tick - time.monotonic()) * 1000 if self._served else None

    def _listen(self) -> None:
        """Note what has changed, and whether more than a file's content has."""
        changed, position, notices = self._changed, 0, b""
        while self._nudged:
            changed[self._nudged.popleft()] = True
        with contextlib.suppress(BlockingIOError):
            notices = os.read(self._descriptor, 1 << 16)
        while position < len(notices):
            watch, mask, _, length = _EVENT_HEAD.unpack_from(notices, position)
            position += _EVENT_HEAD.size + length
            for subscription in self._watches.get(watch, ()) if watch >= 0 else self._all():
                changed[subscription] = changed.get(subscription, False) or mask != _IN_MODIFY

    def _all(self) -> list[Subscription]:
        """Return all subscriptions: notices were lost, and nobody knows whose."""
        with self._lock:
            return [each for subscriptions in self._watches.values() for each in subscriptions]

    def _tell(self) -> None:
        changed, self._changed = self._changed, {}
        for subscription, renamed in changed.items():
            served = subscription.served
            if served is None:
                subscription.wake(renamed=renamed)
            elif served.on_change(renamed):
                self._changed[subscription] = False
        self._lately.update(changed)

    def _tell_time(self) -> None:
        """Tell all the time, and some of them to look for what there was no notice of."""
        self._gathering = min(len(self._lately) // _MANY, _LONGEST)
        self._lately.clear()
        with self._lock:
            everyone = [*self._served]
        self._ticks += 1
        stride = 1 + len(everyone) // _LOOKS
        for number, subscription in enumerate(everyone, self._ticks):
            served = subscription.served
            if served is None:
                continue
            served.on_tick()
            if number % stride == 0 and served.on_change(True):
                self._changed[subscription] = False


class _Inotify:
    """The kernel's notices about folders, handed to the subscriptions by one thread."""

    def __init__(self) -> None:
        import ctypes

        self._libc = ctypes.CDLL(None, use_errno=True)
        self._lock = threading.Lock()
        self._loop: _Loop | None = None

    def subscribe(self, folder: Path, on_wake: Callable[[], None] | None = None) -> Subscription:
        with self._lock:
            if self._loop is None or self._loop.over:
                self._loop = _Loop(self._libc, self._lock)
            return self._loop.add(folder, on_wake)


_inotify: _Inotify | None = None
_beginning = threading.Lock()


def subscribe(folder: Path, on_wake: Callable[[], None] | None = None) -> Subscription:
    """Return an alarm clock for changes of the files in `folder`; close it when done.

    Args:
        on_wake: called at each change, in a thread of its own, unless the clock `polls`.
    """
    global _inotify
    if not sys.platform.startswith("linux"):
        return Subscription()
    with _beginning:
        if _inotify is None:
            _inotify = _Inotify()
    try:
        return _inotify.subscribe(folder, on_wake)
    except OSError:
        return Subscription()
