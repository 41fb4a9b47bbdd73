"""One long line: our framing, and the bare joining of its chunks: FILE ROUNDS."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from common import tell

from claude_mpm.journal.cursor import LARGE_CHUNK as CHUNK
from claude_mpm.journal.cursor import Cursor
from claude_mpm.journal.exchange import ExchangeFile

path, rounds = Path(sys.argv[1]), int(sys.argv[2])


def joined() -> int:
    """Read the chunks and join them; nothing looks for the newline."""
    file = os.open(path, os.O_RDONLY)
    chunks = []
    while chunk := os.read(file, CHUNK):
        chunks.append(chunk)
    os.close(file)
    return len(b"".join(chunks))


def framed() -> int:
    """Read the line as a session does."""
    cursor = Cursor(ExchangeFile(path.parent, path.name))
    (line,) = cursor.read()
    cursor.close()
    return len(line.data) + 1


def timed(read: object) -> float:
    """Return how long it takes."""
    begun = time.perf_counter()
    assert read() == path.stat().st_size  # type: ignore[operator]
    return time.perf_counter() - begun


times = {joined: [], framed: []}  # type: ignore[var-annotated]
for _ in range(rounds):
    for read, found in times.items():
        found.append(timed(read))
pairs = [after / before for before, after in zip(times[joined], times[framed], strict=True)]
middle = sorted(times[framed])[rounds // 2] / sorted(times[joined])[rounds // 2]
tell(ratio=middle, low=min(pairs), high=max(pairs), joined=sorted(times[joined])[rounds // 2])
