"""What a far command answers, told from what its place says around that.

A login shell greets, a start-up file prints, a forced command talks: all of it stands in the same
stream. So an answer stands between marks of our own, which nobody can have known before.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_SIGN = b"\x1e"  # a record separator: what is no mark hardly ever has one
# For POSIX sh: the beginning of an answer, on a line of its own whatever was said before, and its
# end, wherever it is. The nonce is in $mark.
BEGIN = r"printf '\n\036%s\n' "
END = r"printf '\036%s %s\n' "
_RUN = f'{BEGIN}"$0"; "$@"; {END}"$0" "$?"'
_REMEMBERED = 4096  # bytes of what was said before an answer, for the message where there is none


class MarkedOutput:
    """Takes the output of one command piece by piece, and gives out what is its answer.

    Attributes:
        nonce: what the marks of this command have in them.
        begun: whether the beginning was there.
        status: the exit status that stood at the end; None until the end was there.
        before: the last of what was said before the beginning.
    """

    def __init__(self) -> None:
        self.nonce = secrets.token_hex(16)
        self.begun = False
        self.status: int | None = None
        self.before = b""
        self._begin = b"\n" + _SIGN + self.nonce.encode() + b"\n"
        self._end = _SIGN + self.nonce.encode() + b" "
        self._rest = b""

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs `argv` and sets the marks."""
        return ["sh", "-c", _RUN, self.nonce, *argv]

    def feed(self, data: bytes) -> bytes:
        """Take what came, and return what of it is the answer; what may be a mark waits."""
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
            if newline:
                self.status = int(status) if status.isdigit() and len(status) < 4 else -1
            return answer
        at = rest.rfind(_SIGN, max(0, len(rest) - len(self._end) + 1))
        if at < 0 or not self._end.startswith(rest[at:]):
            at = len(rest)
        self._rest = rest[at:]
        return rest[:at]


def last_line(*outputs: bytes) -> str:
    """Return the last line of the first output that has any; empty where none has."""
    for output in outputs:
        if lines := output.decode("utf-8", "replace").strip().splitlines():
            return lines[-1].strip()
    return ""
