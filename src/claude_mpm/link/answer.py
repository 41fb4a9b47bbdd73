"""The output of a far command, separated from other output of its place.

A login shell, a start-up file or a forced command may print into the same stream. So the output is
between marks with a nonce, which cannot be known in advance.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_SIGN = b"\x1e"  # a record separator, which is rare outside of marks
# For POSIX sh: the mark of the beginning, on its own line whatever was printed before, and that of
# the end. The nonce is in $mark.
BEGIN = r"printf '\n\036%s\n' "
END = r"printf '\036%s %s\n' "
_RUN = f'{BEGIN}"$0"; "$@"; {END}"$0" "$?"'
_REMEMBERED = 4096  # bytes of output before the beginning, for the error message if there is none
_LONGEST_STATUS = 8  # characters
_LONGEST_REASON = 1000  # characters of one line in a message


class MarkedOutput:
    """Extracts the output of one command from a stream, piece by piece.

    Attributes:
        nonce: part of the marks of this command.
        begun: whether the mark of the beginning was received.
        status: the exit status in the mark of the end; None until it was received.
        before: the last bytes before the beginning.
    """

    def __init__(self) -> None:
        self.nonce = os.urandom(16).hex()
        self.begun = False
        self.status: int | None = None
        self.before = b""
        self._begin = b"\n" + _SIGN + self.nonce.encode() + b"\n"
        self._end = _SIGN + self.nonce.encode() + b" "
        self._rest = b""

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs `argv` and prints the marks."""
        return ["sh", "-c", _RUN, self.nonce, *argv]

    def feed(self, data: bytes) -> bytes:
        """Add received bytes, and return those of the output; a possible mark is held back."""
        rest = self._rest + data if self._rest else data
        if not self.begun:
            before, found, rest = rest.partition(self._begin)
            self.begun = bool(found)
            self.before = self._rest = before[-_REMEMBERED:]
            if not found:
                return b""
        if self.status is not None:
            return b""
        answer, found, behind = rest.partition(self._end)
        if found:
            self._rest = self._end + behind
            status, newline, _ = behind.partition(b"\n")
            if newline or len(behind) > _LONGEST_STATUS:
                self.status = int(status) if status.isdigit() and len(status) < 4 else -1
            return answer
        at = rest.rfind(_SIGN, max(0, len(rest) - len(self._end) + 1))
        if at < 0 or not self._end.startswith(rest[at:]):
            at = len(rest)
        self._rest = rest[at:]
        return rest[:at]


def last_line(*outputs: bytes) -> str:
    """Return the last line of the first output that has one; empty if none has."""
    for output in outputs:
        if lines := output.decode("utf-8", "replace").strip().splitlines():
            return lines[-1].strip()[-_LONGEST_REASON:]
    return ""
