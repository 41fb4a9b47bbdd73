"""The modes into which a program has switched its terminal.

A program's output is passed through; only mode switches are tracked: a screen that connects later
has to be set to the same modes, and a screen that disconnects has to be reset.
The sequences are those of ECMA-48 and xterm's "Control Sequences"; `CSI > u` and `CSI < u` are
those of the kitty keyboard protocol.
"""

from __future__ import annotations

import re

_SWITCH = re.compile(
    rb"\x1b\[\?([0-9;]+)([hl])"  # private modes
    rb"|\x1b\[([<>])([0-9]*)u"  # keyboard protocols: a stack of flags
    rb"|\x1b\[>4(;[0-9]*)?m"  # how keys with modifiers are sent
    rb"|\x1b\]([02]);([^\x07\x1b]*)(?:\x07|\x1b\\)"  # the title
    rb"|(\x1bc)"  # full reset
)
_UNFINISHED = re.compile(rb"\x1b(?:\[[<>?]?[0-9;]*|\][^\x07\x1b]{0,512}\x1b?)?\Z")
_ANY_SEQUENCE = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])|[\x00-\x08\x0b-\x1f]"
)
_ON_BY_DEFAULT = frozenset({b"7", b"25"})  # lines wrap, the cursor is shown
_ALTERNATE_SCREEN = (b"1049", b"1047", b"47")
# Switched with every redraw: the cursor is hidden, and output is held back (synchronized output).
_TRANSIENT = frozenset({b"25", b"2026"})
_TRANSIENT_OFF = b"\x1b[?2026l\x1b[?25h"
_PLAIN = b"\x1b[0m\x1b(B\x0f"  # no colours, the usual characters


class Modes:
    """Tracks the mode switches in the output of a program."""

    def __init__(self) -> None:
        self._reset()
        self._rest = b""

    def _reset(self) -> None:
        self._private: dict[bytes, bool] = {}  # those that differ from their defaults
        self._keyboard: list[bytes] = []
        self._modified_keys = b""
        self._title = b""

    def feed(self, chunk: bytes) -> bool:
        """Track output, cut anywhere between calls; return whether a mode has changed."""
        data = self._rest + chunk
        unfinished = _UNFINISHED.search(data)
        self._rest = unfinished[0] if unfinished else b""
        before = self._state()
        for match in _SWITCH.finditer(data[: len(data) - len(self._rest)]):
            self._switch(match)
        return self._state() != before

    def _state(self) -> tuple[object, ...]:
        return dict(self._private), list(self._keyboard), self._modified_keys, self._title

    def _switch(self, match: re.Match[bytes]) -> None:
        if match[1]:
            for mode in match[1].split(b";"):
                self._set(mode, on=match[2] == b"h")
        elif match[3] == b">":
            self._keyboard.append(match[4])
        elif match[3] == b"<":
            del self._keyboard[-max(1, int(match[4] or 1)) :]
        elif match[6]:
            self._title = match[7]
        elif match[8]:
            self._reset()
        else:
            self._modified_keys = match[5] or b""

    def _set(self, mode: bytes, *, on: bool) -> None:
        if on == (mode in _ON_BY_DEFAULT):
            self._private.pop(mode, None)
        else:
            self._private[mode] = on

    @property
    def takes_pastes(self) -> bool:
        """Whether the program has switched bracketed paste on, and so accepts input."""
        return b"2004" in self._private

    def enable_sequences(self) -> bytes:
        """Return the sequences that set another terminal to the same modes."""
        switches = [_private(mode, on) for mode, on in self._in_order()]
        switches += [b"\x1b[>%bu" % flags for flags in self._keyboard]
        if self._modified_keys:
            switches.append(b"\x1b[>4%bm" % self._modified_keys)
        if self._title:
            switches.append(b"\x1b]0;%b\x07" % self._title)
        return b"".join(switches)

    def reset_sequences(self) -> bytes:
        """Return the sequences that reset the modes, as a program sends them when it ends."""
        switches = [b"\x1b[<%du" % len(self._keyboard)] if self._keyboard else []
        if self._modified_keys:
            switches.append(b"\x1b[>4m")
        if self._title:
            switches.append(b"\x1b]0;\x07")
        switches += (_PLAIN, _TRANSIENT_OFF)
        lasting = [item for item in reversed(self._in_order()) if item[0] not in _TRANSIENT]
        switches += [_private(mode, not on) for mode, on in lasting]
        return b"".join(switches)

    def _in_order(self) -> list[tuple[bytes, bool]]:
        """Return the modes, the alternate screen first, as some modes belong to one screen."""
        return sorted(self._private.items(), key=lambda item: item[0] not in _ALTERNATE_SCREEN)


def _private(mode: bytes, on: bool) -> bytes:
    return b"\x1b[?%b%b" % (mode, b"h" if on else b"l")


def without_sequences(data: bytes) -> str:
    """Return the text of a program's output, without control sequences."""
    return _ANY_SEQUENCE.sub(b"", data).decode("utf-8", "replace").strip()
