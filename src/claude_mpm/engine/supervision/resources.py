"""What Claude's whole process tree uses, in whatever place it runs, and what is done at a limit."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

import msgspec

from claude_mpm.errors import MPMError

if TYPE_CHECKING:
    import logging

    from claude_mpm.environments.base import Environment

INTERVAL = 5.0  # seconds between two looks
PERIOD = 60.0  # seconds that the use of processors is averaged over
# Sums up resident memory and processor time of every process that has the session's name in its
# environment: Claude, its tools, and all that they started. Shared memory counts for each of them.
# Who has ended counts with the parent that waited for it.
_SAMPLE = """
add() { # FOLDER of a process in /proc
    read -r _ resident _ <"$1/statm" && read -r stat <"$1/stat" || return
    set -- ${stat##*)}
    pages=$((pages + resident)) count=$((count + 1))
    ticks=$((ticks + ${12} + ${13} + ${14} + ${15}))
}
pages=0 ticks=0 count=0
for file in $(grep -lzxF "CLAUDE_MPM_SESSION=$1" /proc/[0-9]*/environ 2>/dev/null); do
    add "${file%/environ}" 2>/dev/null
done
echo "$pages $(getconf PAGESIZE || echo 4096) $ticks $(getconf CLK_TCK || echo 100) $count"
"""


class Usage(msgspec.Struct, frozen=True):
    """What a session's processes use.

    Args:
        memory_mb: resident memory, in megabytes of 1,000,000 bytes.
        cpu_seconds: processor time of those that live, and of the children that they waited for.
        processes: how many they are.
    """

    memory_mb: float
    cpu_seconds: float
    processes: int


class Limits(msgspec.Struct, frozen=True):
    """What a session's processes may use together.

    Args:
        memory_mb: resident memory, in megabytes of 1,000,000 bytes.
        cpu_percent: processor time over the last `PERIOD`, in percent of one processor.
    """

    memory_mb: float | None = None
    cpu_percent: float | None = None

    def passed(self, usage: Usage, cpu_percent: float) -> str:
        """Say which limit is passed; empty where none is."""
        who = (
            f"Claude and its tools use {{}} in {usage.processes} processes, and the limit is {{:g}}"
        )
        if self.memory_mb is not None and usage.memory_mb >= self.memory_mb:
            return who.format(f"{usage.memory_mb:.0f} MB", self.memory_mb)
        if self.cpu_percent is not None and cpu_percent >= self.cpu_percent:
            return who.format(f"{cpu_percent:.0f} % of a processor", self.cpu_percent)
        return ""


def read_usage(environment: Environment, session_id: str) -> Usage:
    """Look at a session's processes in their place.

    Raises:
        LaunchError: the place cannot be reached, or cannot tell.
    """
    answer = environment.run(["sh", "-c", _SAMPLE, "usage", session_id]).split()
    pages, page, ticks, second, count = map(int, answer)
    return Usage(pages * page / 1e6, ticks / second, count)


class Watched(Protocol):
    """Whose use of the machine is watched, and who acts at the limits."""

    def usage(self) -> Usage:
        """Look at what is used.

        Raises:
            MPMError: nobody can tell.
        """

    def warn(self, found: str) -> None:
        """Called at a soft limit with one line that says what was found."""

    def exceed(self, found: str) -> None:
        """Called at a hard limit with one line that says what was found."""


class ResourceWatch:
    """Looks every few seconds, until it is closed, and acts once at each limit.

    Args:
        watched: who is looked at, and is called again at a limit only after the use had gone down.
        soft: the limits at which `warn` is called.
        hard: the limits at which `exceed` is called.
        logger: where a look that failed is logged.
    """

    def __init__(
        self,
        watched: Watched,
        *,
        soft: Limits,
        hard: Limits,
        logger: logging.Logger,
    ) -> None:
        self._watched = watched
        self._limits = ((hard, watched.exceed), (soft, watched.warn))
        self._logger = logger
        self._passed: set[Limits] = set()
        self._cpu: deque[tuple[float, float]] = deque()  # when, and processor time until then
        # Looks take their time, in whatever place, so they have a thread, which nobody reads in;
        # whoever ends the session sets `_over` and waits for the thread.
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="claude-mpm-usage", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Look no more; safe to call twice, and from what `exceed` does."""
        self._over.set()
        if threading.current_thread() is not self._thread and self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(INTERVAL):
            try:
                self.judge(self._watched.usage(), time.monotonic())
            except MPMError as error:
                self._logger.warning("what Claude uses is not known: %s", error)

    def judge(self, usage: Usage, now: float) -> None:
        """Act where what was found passes a limit.

        Args:
            now: when it was found, in seconds.
        """
        cpu_percent = self._cpu_percent(usage.cpu_seconds, now)
        for limits, do in self._limits:
            found = limits.passed(usage, cpu_percent)
            if not found:
                self._passed.discard(limits)
            elif limits not in self._passed:
                self._passed.add(limits)
                do(found)
                return

    def _cpu_percent(self, seconds: float, now: float) -> float:
        """Return the mean use of processors over a whole period; 0 until there was one."""
        if self._cpu and seconds < self._cpu[-1][1]:
            self._cpu.clear()  # another Claude, or a child that nobody waited for
        self._cpu.append((now, seconds))
        while len(self._cpu) > 1 and self._cpu[1][0] <= now - PERIOD:
            self._cpu.popleft()
        since, before = self._cpu[0]
        return 100 * (seconds - before) / (now - since) if now - since >= PERIOD else 0.0
