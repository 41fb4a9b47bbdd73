"""A tracker's own program, run for one call: its login, its settings, its way to the network."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, cast

from claude_mpm.bridges.trackers import TrackerFailed
from claude_mpm.own_python import own_python
from claude_mpm.printable import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Waits for a program with descriptors open that the program does not get.
_HOLDER = """import subprocess, sys
try:
    status = subprocess.call(sys.argv[1:])
except OSError as error:
    sys.exit(str(error))
sys.exit(status if status >= 0 else 128 - status)"""
PATIENCE = 60.0  # seconds for one call
LONGEST = 1 << 26  # bytes of an answer; a thousand of the longest issues have room in it
_MOST_ERRORS = 1 << 16  # bytes of its errors that are kept
_MOST_SHOWN = 500  # characters of an error that is shown
_CHUNK = 1 << 16


class _Ended(Exception):
    """A program was ended; says why, and what to do."""


def call_program(
    command: Sequence[str],
    data: str | None = None,
    *,
    of: str,
    install: str,
    cwd: Path | None = None,
    keeps_open: Sequence[int] = (),
) -> Any:
    """Run a program to its end and return the JSON that it prints, of bounded length.

    Args:
        command: the program and its arguments.
        data: its standard input; None for none.
        of: the address of the tracker, for errors.
        install: what to do where there is no such program.
        cwd: where it runs; None for the current folder.
        keeps_open: descriptors of this process that are open as long as it runs, also where this
            process is killed; not in it, since it may leave something behind that runs on.

    Raises:
        TrackerFailed: the program is missing, it failed, or there is no answer.
    """
    name = command[0]
    try:
        done = _run(command, data, cwd, keeps_open)
    except FileNotFoundError as error:
        raise TrackerFailed(f"there is no {name}; {install}") from error
    except OSError as error:
        raise TrackerFailed(f"{of}: {name} cannot be run ({error})") from error
    except _Ended as error:
        raise TrackerFailed(f"{of}: {name} {error}") from error
    if done.returncode:
        said = one_line(_error_in(done.stderr) or f"exit status {done.returncode}")
        raise TrackerFailed(f"{of}: {said[:_MOST_SHOWN]}; what was filed stays, push again")
    try:
        return json.loads(done.stdout)
    except (ValueError, RecursionError) as error:
        raise TrackerFailed(f"{of}: {name} printed no JSON; push again") from error


def _run(
    command: Sequence[str], data: str | None, cwd: Path | None, keeps_open: Sequence[int]
) -> subprocess.CompletedProcess[str]:
    """Run a program, with all that it starts in its group, and end that where it takes too long."""
    if keeps_open:
        if shutil.which(command[0]) is None:
            raise FileNotFoundError(command[0])
        command = own_python("-I", "-S", "-c", _HOLDER, *command)  # with no variable of Python's
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL if data is None else pipe, stdout=pipe, stderr=pipe,
        bufsize=0, cwd=cwd, pass_fds=keeps_open, process_group=0,
    ) as process:  # fmt: skip
        try:
            said, errors = _communicate(process, (data or "").encode("utf-8", "replace"))
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    texts = [text.decode("utf-8", "replace") for text in (said, errors)]
    return subprocess.CompletedProcess(command, process.returncode, *texts)


def _communicate(process: subprocess.Popen[bytes], data: bytes) -> tuple[bytearray, bytearray]:
    """Give a program its input and return what it prints, and the beginning of its errors.

    Raises:
        _Ended: it has not ended after `PATIENCE` seconds, or printed more than `LONGEST` bytes.
    """
    deadline = time.monotonic() + PATIENCE
    said, errors, left = bytearray(), bytearray(), memoryview(data)
    more: bytes | memoryview
    with selectors.DefaultSelector() as pipes:
        for stream, kept in ((process.stdout, said), (process.stderr, errors)):
            if stream is not None:
                pipes.register(stream, selectors.EVENT_READ, kept)
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            pipes.register(process.stdin, selectors.EVENT_WRITE)
        while pipes.get_map():
            if time.monotonic() >= deadline:
                raise _Ended(f"has not answered for {PATIENCE:.0f} s; push again")
            for key, _ in pipes.select(max(0.0, deadline - time.monotonic())):
                if key.data is None:
                    left = more = _write(key.fd, left)
                else:
                    more = os.read(key.fd, _CHUNK)
                    key.data.extend(more)
                if not more:
                    pipes.unregister(key.fileobj)
                    cast("IO[bytes]", key.fileobj).close()
            if len(said) > LONGEST:
                raise _Ended(f"printed more than {LONGEST >> 20} MiB, and was ended; see why")
            del errors[_MOST_ERRORS:]
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise _Ended(f"has not ended for {PATIENCE:.0f} s; push again") from error
    return said, errors


def _write(pipe: int, data: memoryview) -> memoryview:
    """Give a program some of its input, and return what is left; nothing where it reads no more."""
    try:
        return data[os.write(pipe, data[:_CHUNK]) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:
        return data[:0]


def _error_in(text: str) -> str:
    """Return the error in what a program printed, which may be an object with `error`."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text.strip()
    return str(found["error"]) if isinstance(found, dict) and "error" in found else text.strip()
