"""The standard streams of the command: a failed write causes one line of error at most."""

from __future__ import annotations

import io
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from claude_mpm.errors import MPMError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer


class OutputLost(MPMError):
    """Standard output cannot be written: the output is lost."""

    exit_status = 1


class ReaderGone(OutputLost):
    """The reader of standard output has ended, as `head` does when it has read enough."""

    exit_status = 0


class Progress:
    """What is printed of work that goes on also where nobody can read of it any more."""

    def __init__(self) -> None:
        self._lost: OutputLost | None = None

    @contextmanager
    def printing(self) -> Iterator[None]:
        """Print in this `with`; a loss of the output ends nothing."""
        try:
            yield
        except OutputLost as error:  # what is printed after it is dropped
            self._lost = error

    def finish(self) -> None:
        """Report the loss once the work is done; a reader that has gone wanted no more.

        Raises:
            OutputLost: there was one.
        """
        if self._lost is not None and not isinstance(self._lost, ReaderGone):
            raise self._lost


class _StandardOutput(io.FileIO):
    """Standard output: the first write that fails raises, and all after it are dropped.

    Else Python would try the rest again when the process ends, and complain of it.
    """

    _lost = False

    def drop(self) -> None:
        """Drop all writes from now on."""
        self._lost = True

    def write(self, data: Buffer, /) -> int:
        if self._lost:
            return len(memoryview(data).cast("B"))
        try:
            return super().write(data)
        except BrokenPipeError as error:
            self._lost = True
            raise ReaderGone("the reader of standard output has gone") from error
        except BlockingIOError:
            raise
        except OSError as error:
            self._lost = True
            raise OutputLost(
                f"standard output takes no more: {error.strerror}; the rest is not printed"
            ) from error


class _Errors(io.FileIO):
    """Standard error: failed writes are ignored."""

    def write(self, data: Buffer, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(memoryview(data).cast("B"))


def take_over() -> None:
    """Open closed standard streams to the null device, and write to the others as said above.

    What the encoding of the terminal lacks is shown as an escape. Streams that somebody put in the
    place of the process's own are left alone.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 -- for good
    if sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout = _over(_StandardOutput, sys.stdout)
    if sys.stderr is sys.__stderr__ and isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = _over(_Errors, sys.stderr)


def drop_output() -> None:
    """Drop what standard output has not taken yet, where a reader may never read it."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(raw, _StandardOutput):
        raw.drop()


def _over(raw: type[io.FileIO], stream: io.TextIOWrapper) -> TextIO:
    buffer = io.BufferedWriter(raw(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(
        buffer, encoding=stream.encoding, errors="backslashreplace",
        line_buffering=stream.line_buffering, write_through=stream.write_through,
    )  # fmt: skip
