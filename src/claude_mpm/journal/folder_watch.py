"""Waiting for a session folder to change, without polling where the system reports changes.

One thread serves every session of the process: on Linux it sleeps in inotify. Elsewhere, and on
file systems that report nothing, a wait ends after `POLL_INTERVAL` seconds.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

from claude_mpm.journal.inotify import Inotify, load_libc

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

POLL_INTERVAL = 0.02  # seconds
_TICK = 1.0  # seconds
_CHECKS_PER_TICK = 250  # how many handlers are called in one tick though nothing was reported
# With many changing folders, events are gathered before they are handled, since waking up costs
# more than a line does: one millisecond for every `_FOLDERS_PER_MILLISECOND` folders.
_FOLDERS_PER_MILLISECOND, _MAX_GATHERING = 15, 20


class ChangeHandler(Protocol):
    """What the watching thread itself does for a folder. None of it may block, or raise."""

    def on_change(self, renamed: bool, /) -> bool:
        """Handle a change; called again soon if it returns true.

        Args:
            renamed: whether more may have happened than that a file was written. It is also true
                in the calls that are made now and then without any event.
        """

    def on_tick(self) -> None:
        """Handle the passing of time; called once per second."""


class Subscription:
    """One subscriber to the changes of one folder.

    Args:
        on_wake: called as well, from any thread, when the subscription is woken.
        loop: the watching thread's; without one, the subscription polls every `POLL_INTERVAL`.
        watch: the number of the folder's inotify watch.

    Attributes:
        polls: whether changes are not reported, so that waits have to be short.
        handler: called by the watching thread instead of waking a waiting one; None for none.
    """

    __slots__ = ("_loop", "_on_wake", "_renamed", "_sleeping", "_watch", "handler", "polls")

    def __init__(
        self,
        on_wake: Callable[[], None] | None = None,
        *,
        loop: _Loop | None = None,
        watch: int = 0,
    ) -> None:
        self.polls = loop is None
        self.handler: ChangeHandler | None = None
        self._on_wake = on_wake
        self._loop = loop
        self._watch = watch
        self._renamed = False
        self._sleeping = threading.Lock()  # a binary semaphore: released to wake up
        self._sleeping.acquire()

    def wait(self, timeout: float) -> bool:
        """Wait until the folder may have changed, `wake` was called or `timeout` seconds passed.

        Returns:
            False if files were written, and nothing else has happened.
        """
        longest = POLL_INTERVAL if self.polls else threading.TIMEOUT_MAX
        woken = self._sleeping.acquire(timeout=max(0.0, min(timeout, longest)))
        renamed, self._renamed = self._renamed, False
        return renamed or not woken or self.polls

    def wake(self, *, renamed: bool = True) -> None:
        """End the wait, or have the handler called; from any thread.

        Args:
            renamed: whether more may have happened than that a file was written.
        """
        loop = self._loop
        if self.handler is not None and loop is not None:
            loop.request(self)
            return
        self._renamed = self._renamed or renamed
        with contextlib.suppress(RuntimeError):  # it was woken already, and has not run since
            self._sleeping.release()
        if self._on_wake is not None:
            self._on_wake()

    def set_handler(self, handler: ChangeHandler | None) -> None:
        """Have the watching thread call a handler at each change, the first time at once.

        Args:
            handler: None to wake waiting threads again.
        """
        self.handler = handler
        if self._loop is not None:
            self._loop.set_ticking(self, ticking=handler is not None)

    def close(self) -> None:
        """Stop watching; safe to call twice."""
        loop, self._loop = self._loop, None
        self.handler = None
        if loop is not None:
            loop.remove(self._watch, self)


class _Loop:
    """One run of the watching thread, from the first subscription to the last.

    Args:
        libc: the C library.
        lock: shared by all runs; it protects the collections below, which other threads change.

    Attributes:
        ended: whether the last subscription was removed.
    """

    def __init__(self, libc: Any, lock: threading.Lock) -> None:
        self.ended = False
        self._lock = lock
        self._watches: dict[int, tuple[Subscription, ...]] = {}
        self._ticking: dict[Subscription, None] = {}  # those with a handler
        self._requested: deque[Subscription] = deque()
        self._inotify = Inotify(libc)
        self._wake_read, self._wake_write = os.pipe()
        # From here on, of the watching thread alone.
        self._changed: dict[Subscription, bool] = {}
        self._active: set[Subscription] = set()  # those that changed since the last tick
        self._gathering = 0  # milliseconds
        self._ticks = 0
        threading.Thread(target=self._run, name="claude-mpm-watch", daemon=True).start()

    # --- from any thread --------------------------------------------------------------------

    def add(self, folder: Path, on_wake: Callable[[], None] | None) -> Subscription:
        """Watch a folder; called with the lock held."""
        watch = self._inotify.add_watch(folder)
        if watch < 0:
            self._stop_if_unused()
            return Subscription()
        subscription = Subscription(on_wake, loop=self, watch=watch)
        self._watches[watch] = (*self._watches.get(watch, ()), subscription)
        return subscription

    def remove(self, watch: int, subscription: Subscription) -> None:
        """Remove a subscription, and the watch of its folder with the last one."""
        with self._lock:
            self._ticking.pop(subscription, None)
            subscriptions = self._watches.get(watch, ())
            if subscription not in subscriptions:
                return
            self._watches[watch] = tuple(s for s in subscriptions if s is not subscription)
            if not self._watches[watch]:
                del self._watches[watch]
                self._inotify.remove_watch(watch)
            self._stop_if_unused()

    def set_ticking(self, subscription: Subscription, *, ticking: bool) -> None:
        """Start or stop the ticks of a subscription's handler."""
        with self._lock:
            if ticking:
                self._ticking[subscription] = None
            else:
                self._ticking.pop(subscription, None)
        if ticking:
            self.request(subscription)

    def request(self, subscription: Subscription) -> None:
        """Have the thread treat a subscription as if everything had changed."""
        with self._lock:
            self._requested.append(subscription)
            if len(self._requested) == 1 and not self.ended:
                os.write(self._wake_write, b"!")

    def _stop_if_unused(self) -> None:
        """End the thread with the last subscription; it closes what it reads itself."""
        if not self._watches:
            self.ended = True
            os.close(self._wake_write)

    # --- in the watching thread -------------------------------------------------------------

    def _run(self) -> None:
        requests, everything = select.poll(), select.poll()
        requests.register(self._wake_read, select.POLLIN)
        everything.register(self._wake_read, select.POLLIN)
        everything.register(self._inotify.descriptor, select.POLLIN)
        next_tick = time.monotonic() + _TICK
        try:
            while True:
                if self._gathering and not self._changed:
                    ready = requests.poll(self._gathering)
                else:
                    ready = everything.poll(self._timeout(next_tick))
                requested = any(descriptor == self._wake_read for descriptor, _ in ready)
                if requested and not os.read(self._wake_read, 1 << 12):
                    return
                self._collect()
                self._notify()
                if (now := time.monotonic()) >= next_tick:
                    next_tick = now + _TICK
                    self._tick()
        finally:
            self._inotify.close()
            os.close(self._wake_read)

    def _timeout(self, next_tick: float) -> float | None:
        """Return how long the thread may sleep, in milliseconds; None for no limit."""
        if self._changed:
            return 0
        return max(0.0, next_tick - time.monotonic()) * 1000 if self._ticking else None

    def _collect(self) -> None:
        """Collect which folders have changed, and whether a file was more than written."""
        changed = self._changed
        while self._requested:
            changed[self._requested.popleft()] = True
        for watch, only_written in self._inotify.read():
            for subscription in self._watches.get(watch, ()) if watch >= 0 else self._all():
                changed[subscription] = changed.get(subscription, False) or not only_written

    def _all(self) -> list[Subscription]:
        """Return all subscriptions, since events of unknown folders were lost."""
        with self._lock:
            return [s for subscriptions in self._watches.values() for s in subscriptions]

    def _notify(self) -> None:
        changed, self._changed = self._changed, {}
        for subscription, renamed in changed.items():
            handler = subscription.handler
            if handler is None:
                subscription.wake(renamed=renamed)
            elif handler.on_change(renamed):
                self._changed[subscription] = False
        self._active.update(changed)

    def _tick(self) -> None:
        """Call all handlers' `on_tick`, and `on_change` of some, for what was not reported."""
        self._gathering = min(len(self._active) // _FOLDERS_PER_MILLISECOND, _MAX_GATHERING)
        self._active.clear()
        with self._lock:
            ticking = [*self._ticking]
        self._ticks += 1
        stride = 1 + len(ticking) // _CHECKS_PER_TICK
        for number, subscription in enumerate(ticking, self._ticks):
            handler = subscription.handler
            if handler is None:
                continue
            handler.on_tick()
            if number % stride == 0 and handler.on_change(True):
                self._changed[subscription] = False


class _Watcher:
    """The watching thread, which is started again after it has ended with its last subscription."""

    def __init__(self) -> None:
        self._libc = load_libc()
        self._lock = threading.Lock()  # protects the current loop and its collections
        self._loop: _Loop | None = None

    def subscribe(self, folder: Path, on_wake: Callable[[], None] | None = None) -> Subscription:
        with self._lock:
            if self._loop is None or self._loop.ended:
                self._loop = _Loop(self._libc, self._lock)
            return self._loop.add(folder, on_wake)


_watcher: _Watcher | None = None
_creating = threading.Lock()  # held while the one watcher of the process is made


def subscribe(folder: Path, on_wake: Callable[[], None] | None = None) -> Subscription:
    """Return a subscription to the changes of the files in `folder`; close it when done.

    Args:
        on_wake: called at each change by the watching thread, unless the subscription `polls`.
    """
    global _watcher
    if not sys.platform.startswith("linux"):
        return Subscription()
    with _creating:
        if _watcher is None:
            _watcher = _Watcher()
    try:
        return _watcher.subscribe(folder, on_wake)
    except OSError:
        return Subscription()
