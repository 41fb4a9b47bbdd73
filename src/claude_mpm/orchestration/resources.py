"""What Claude's whole process tree uses, in whatever place it runs, and what is done at a limit."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.errors import MPMError

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from claude_mpm.environments.base import Environment

INTERVAL = 5.0  # seconds between two looks
# Sums up resident memory and processor time of every process that has the session's name in its
# environment: Claude, its tools, and all that they started. Shared memory counts for each of them.
_SAMPLE = """
add() { # FOLDER of a process in /proc
    read -r _ resident _ <"$1/statm" && read -r stat <"$1/stat" || return
    set -- ${stat##*)}
    pages=$((pages + resident)) ticks=$((ticks + ${12} + ${13})) count=$((count + 1))
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
        cpu_seconds: processor time of those that live.
        processes: how many they are.
    """

    memory_mb: float
    cpu_seconds: float
    processes: int


def read_usage(environment: Environment, session_id: str) -> Usage:
    """Look at a session's processes in their place.

    Raises:
        LaunchError: the place cannot be reached, or cannot tell.
    """
    answer = environment.run(["sh", "-c", _SAMPLE, "usage", session_id]).split()
    pages, page, ticks, second, count = map(int, answer)
    return Usage(pages * page / 1e6, ticks / second, count)


class ResourceWatch:
    """Looks every few seconds, until it is closed, and acts once at each limit.

    Args:
        read: looks.
        soft_mb: megabytes at which `warn` is called.
        hard_mb: megabytes at which `act` is called.
        warn, act: given one line that says what was found; `act` is called again only after the
            memory had gone down.
        logger: where a look that failed is told.
    """

    def __init__(
        self,
        read: Callable[[], Usage],
        *,
        soft_mb: float | None,
        hard_mb: float | None,
        warn: Callable[[str], None],
        act: Callable[[str], None],
        logger: logging.Logger,
    ) -> None:
        self._read = read
        self._limits = ((hard_mb, act), (soft_mb, warn))
        self._logger = logger
        self._passed: set[float] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="claude-mpm-usage", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Look no more; safe to call twice, and from what `act` does."""
        self._over.set()
        if threading.current_thread() is not self._thread and self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(INTERVAL):
            try:
                self._judge(self._read())
            except MPMError as error:
                self._logger.warning("the use of memory is not known: %s", error)

    def _judge(self, usage: Usage) -> None:
        for limit, do in self._limits:
            if limit is None:
                continue
            if usage.memory_mb < limit:
                self._passed.discard(limit)
            elif limit not in self._passed:
                self._passed.add(limit)
                do(
                    f"Claude and its tools use {usage.memory_mb:.0f} MB in {usage.processes}"
                    f" processes, and the limit is {limit:g}"
                )
                return
