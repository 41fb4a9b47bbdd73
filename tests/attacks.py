"""What a program in a place may put where a file is expected, and a watch over what is outside."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from calls import call
from claude_mpm.journal.storage import remove_tree
from command import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from claude_mpm.journal.layout import SessionFolder

Words = tuple[tuple[str, ...], ...]
GIGABYTE = 1 << 30
LEVELS = 10_000
# What a place writes: files, FIFOs, and last a folder.
EXCHANGE = (
    "out.jsonl", "err.log", "host.log", "feed", "lease", "stdin", "alive", "pid", "exit", "closed",
    "place", "temporary", "environ", "claude",
)  # fmt: skip
# Every command about a session `s` that ends by itself.
LOOKS: Words = (
    ("ps", "--all"), ("ps", "--all", "--json"), ("show", "s"), ("show", "s", "--json"),
    ("logs", "s"), ("logs", "s", "--json"), ("tickets",), ("tickets", "export"),
    ("delegations",), ("questions",), ("doctor", "--json"), ("doctor", "--rebuild-index"),
)  # fmt: skip
ACTS: Words = (
    ("answer", "s", "deny"), ("wait", "s", "--timeout", "1"), ("attach", "s", "--timeout", "1"),
)  # fmt: skip
SEND = ("send", "s", "hello", "--timeout", "1")
ENDS: Words = (("stop", "s"), ("stop", "--all"), ("doctor", "--sweep"))
# Each takes the name, `$1`, whatever is under it, and leaves something else there; `$2` is a folder
# outside. They are for a POSIX shell, since most places have nothing more.
ATTACKS = {
    "other words": 'rm -rf "$1"; printf "0 -1 99999999999999999999 ../../x\\n\\033[2J{\\n" >"$1"',
    "a link to a file": 'rm -rf "$1"; ln -s "$2/file" "$1"',
    "a link to a folder": 'rm -rf "$1"; ln -s "$2" "$1"',
    "a FIFO": 'rm -rf "$1"; mkfifo "$1"',
    "a folder": 'rm -rf "$1"; mkdir "$1"',
    "a gigabyte": 'rm -rf "$1"; dd if=/dev/zero of="$1" bs=1 count=1 seek=1073741823 2>/dev/null',
    "nested folders": 'rm -rf "$1"; mkdir "$1"; cd "$1" && perl -e '
    '\'for (1..10000) { mkdir "d"; chdir "d" }\'',
    "nested JSON": 'rm -rf "$1"; { printf "%.0s[" $(seq 10000); echo; } >"$1"',
    "nothing": 'rm -rf "$1"',
}


def replace(path: Path, attack: str, outside: Path) -> None:
    """Do here what an attack of the table does in a place, where it takes a program too long."""
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    path.unlink(missing_ok=True)
    match attack:
        case "other words":
            path.write_bytes(b"0 -1 99999999999999999999 ../../x\n\x1b[2J{\n")
        case "a link to a file":
            path.symlink_to(outside / "file")
        case "a link to a folder":
            path.symlink_to(outside)
        case "a FIFO":
            os.mkfifo(path)
        case "a folder":
            path.mkdir()
        case "a gigabyte":
            path.touch()
            os.truncate(path, GIGABYTE)
        case "nested folders":
            _nest(path)
        case "nested JSON":
            path.write_bytes(b"[" * LEVELS + b"\n")


def _nest(path: Path) -> None:
    """Make folders in folders: their path is longer than any path may be."""
    path.mkdir()
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(LEVELS):
        os.mkdir("d", dir_fd=folder)
        below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)


# inotify(7); an lstat is no event, which is all that anybody may do to them.
_ACCESS, _MODIFY, _ATTRIB, _OPEN, _CREATE, _DELETE = 0x1, 0x2, 0x4, 0x20, 0x100, 0x200
_MOVED = 0x40 | 0x80
_HEAD = struct.Struct("iIII")


@contextmanager
def left_alone(outside: Path) -> Iterator[None]:
    """Make sure that nothing in a folder is opened, read, written, made or removed meanwhile."""
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    mask = _ACCESS | _MODIFY | _ATTRIB | _OPEN | _CREATE | _DELETE | _MOVED
    for path in (outside, *outside.iterdir()):
        assert libc.inotify_add_watch(watch, os.fsencode(path), mask) >= 0
    try:
        yield
        try:
            events = os.read(watch, 1 << 16)
        except BlockingIOError:
            return
        _, what, _, length = _HEAD.unpack_from(events)
        name = events[_HEAD.size :][:length].rstrip(b"\0").decode()
        raise AssertionError(f"something outside was touched: {name or outside} ({what:#x})")
    finally:
        os.close(watch)


def lay_outside(folder: Path) -> Path:
    """Make the folder outside that nobody may touch, with a file that would be believed."""
    folder.mkdir()
    (folder / "file").write_text("4242 4242\n")
    (folder / "index.sqlite").write_text("not ours\n")
    return folder


def looks(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    """Run a command here; whatever it says, it says in lines, and with a known status."""
    done = call(capsys, *words)
    assert "Traceback" not in done.err, (words, done.err)
    assert words[0] == "logs" or "\x1b" not in done.out + done.err, (words, done)
    assert done.status in (0, 1), (words, done)


def acts(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does; one that hangs fails."""
    done = subprocess.run(
        [PROGRAM, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        errors="replace", timeout=100, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, (words, done.stderr)
    assert done.returncode in (0, 1, 2, 124), (words, done)
    return done


def is_unfollowed(folder: SessionFolder) -> bool:
    """Return whether the host, on this machine, holds the lease and waits for somebody to follow.

    Until then it may be about to open the lease, by its name, which it had looked at before.
    """
    held = set()
    for process in Path("/proc").glob("[0-9]*"):
        for descriptor in ("4", "6"):  # of `watch` and `alarm` in `host.sh`
            with suppress(OSError):  # it is closed, or another user's
                if (process / "fd" / descriptor).readlink() == folder.lease.path:
                    held.add(descriptor)
    return held == {"4", "6"}


def private(folder: SessionFolder) -> dict[str, bytes]:
    """Return what this machine obeys, but for what each command notes of itself."""
    files = (folder.meta_file, folder.answers, folder.link_file, folder.container_file)
    return {file.name: file.read_bytes() for file in files if file.exists()}
