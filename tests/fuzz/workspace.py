"""A folder for the files that targets write: in memory where the machine has such a place."""

from __future__ import annotations

import atexit
import os
import tempfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_MEMORY = Path("/dev/shm")
IN_MEMORY = _MEMORY if os.access(_MEMORY, os.W_OK) else None
SEPARATOR = b"\x1e"


@cache
def workspace() -> Path:
    # libFuzzer ends its process at once: who started it names a folder, and removes that.
    folder = tempfile.TemporaryDirectory(dir=os.environ.get("FUZZ_FOLDER") or IN_MEMORY)
    atexit.register(folder.cleanup)
    return Path(folder.name)


@contextmanager
def at_home(home: Path) -> Iterator[None]:
    """Have no other home, and none of the user's settings."""
    before = dict(os.environ)
    names = [name for name in before if name.startswith(("CLAUDE", "XDG_"))]
    for name in names:
        del os.environ[name]
    os.environ["HOME"] = str(home)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def sections(data: bytes) -> list[tuple[int, bytes]]:
    """Read an input as several: each begins with a byte that says for what it is."""
    return [(each[0], each[1:]) for each in data.split(SEPARATOR) if each]


def section(number: int, data: bytes) -> bytes:
    return bytes([number + ord("0")]) + data
