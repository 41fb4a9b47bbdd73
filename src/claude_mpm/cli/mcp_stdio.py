"""`claude-mpm mcp` on standard input and output, until the client goes or a signal comes."""

from __future__ import annotations

import fcntl
import io
import os
import select
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer
    from typing_extensions import Buffer

_ABOVE_STANDARD = 3  # the first descriptor that is no standard stream


class StdioTransport:
    """Serves one client on standard input and output.

    Args:
        server: what answers it.
    """

    def __init__(self, server: MCPServer[Any]) -> None:
        self._server = server
        self._input = _Input()

    def run(self) -> None:
        """Serve until the input ends; meanwhile, others find the null device there."""
        before = sys.stdin
        with closing(self._input), closing(io.TextIOWrapper(io.BufferedReader(self._input))) as own:
            self._input.take_over()
            sys.stdin = own
            try:
                self._server.run("stdio")
            finally:
                sys.stdin = before
                self._input.give_back()

    def end(self) -> None:
        """Have the input end, as it does when the client goes; called by a handler of signals."""
        self._input.end()


class _Input(io.RawIOBase):
    """Standard input that also ends on request.

    A thread that reads a pipe cannot be cancelled, and the server would wait for it.
    """

    def __init__(self) -> None:
        self._descriptor = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, _ABOVE_STANDARD)
        self._ended, self._end = os.pipe()

    def take_over(self) -> None:
        """Put the null device in the place of standard input, so that only this reads it."""
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)

    def give_back(self) -> None:
        """Put standard input back."""
        os.dup2(self._descriptor, 0)

    def readable(self) -> bool:
        """Whether it can be read: until it is closed."""
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        """Read what there is, and wait where there is nothing; 0 at the end."""
        either = select.poll()
        either.register(self._descriptor, select.POLLIN)
        either.register(self._ended, select.POLLIN)
        if any(descriptor == self._ended for descriptor, _ in either.poll()):
            return 0
        return os.readv(self._descriptor, [buffer])

    def end(self) -> None:
        """Have it end; safe to call twice."""
        if not self.closed:
            os.write(self._end, b"\0")

    def close(self) -> None:
        """Close it; safe to call twice."""
        if not self.closed:
            super().close()
            for descriptor in (self._descriptor, self._ended, self._end):
                os.close(descriptor)
