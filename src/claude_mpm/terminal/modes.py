"""Which modes a program has switched a terminal to.

What a program draws is passed through and not looked at. Its switches are: a screen that comes
late has to be brought into the same modes, and one that is left has to be taken out of them.
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
    rb"|(\x1bc)"  # everything anew
)
_UNFINISHED = re.compile(rb"\x1b(?:\[[<>?]?[0-9;]*|\][^\x07\x1b]{0,512}\x1b?)?\Z")
_ANY_SEQUENCE = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])|[\x00-\x08\x0b-\x1f]"
)
_ON_BY_DEFAULT = frozenset({b"7", b"25"})  # lines wrap, the cursor is shown
_ALTERNATE_SCREEN = (b"1049", b"1047", b"47")
# What changes with every picture: the cursor is hidden, and what is drawn is held back.
_FLICKERING = frozenset({b"25", b"2026"})
_AT_REST = b"\x1b[?2026l\x1b[?25h"
_PLAIN = b"\x1b[0m\x1b(B\x0f"  # no colours, the usual characters


class Modes:
    """Follows the switches in what a program sends to its terminal."""

    def __init__(self) -> None:
        self._forget()
        self._rest = b""

    def _forget(self) -> None:
        self._private: dict[bytes, bool] = {}  # those that are not as by default
        self._keyboard: list[bytes] = []
        self._modified_keys = b""
        self._title = b""

    def feed(self, chunk: bytes) -> bool:
        """Take what the program sent, cut anywhere; tell whether a switch was in it."""
        data = self._rest + chunk
        unfinished = _UNFINISHED.search(data)
        self._rest = unfinished[0] if unfinished else b""
        before = self._state()
        for found in _SWITCH.finditer(data[: len(data) - len(self._rest)]):
            self._switch(found)
        return self._state() != before

    def _state(self) -> tuple[object, ...]:
        return dict(self._private), list(self._keyboard), self._modified_keys, self._title

    def _switch(self, found: re.Match[bytes]) -> None:
        if found[1]:
            for mode in found[1].split(b";"):
                self._set(mode, on=found[2] == b"h")
        elif found[3] == b">":
            self._keyboard.append(found[4])
        elif found[3] == b"<":
            del self._keyboard[-max(1, int(found[4] or 1)) :]
        elif found[6]:
            self._title = found[7]
        elif found[8]:
            self._forget()
        else:
            self._modified_keys = found[5] or b""

    def _set(self, mode: bytes, *, on: bool) -> None:
        if on == (mode in _ON_BY_DEFAULT):
            self._private.pop(mode, None)
        else:
            self._private[mode] = on

    @property
    def takes_pastes(self) -> bool:
        """Whether the program wants to know what is pasted: it has begun to be talked with."""
        return b"2004" in self._private

    def entering(self) -> bytes:
        """Return what brings another terminal into the same modes."""
        switches = [_private(mode, on) for mode, on in self._in_order()]
        switches += [b"\x1b[>%bu" % flags for flags in self._keyboard]
        if self._modified_keys:
            switches.append(b"\x1b[>4%bm" % self._modified_keys)
        if self._title:
            switches.append(b"\x1b]0;%b\x07" % self._title)
        return b"".join(switches)

    def leaving(self) -> bytes:
        """Return what takes a terminal out of them, as a program does that ends well."""
        switches = [b"\x1b[<%du" % len(self._keyboard)] if self._keyboard else []
        if self._modified_keys:
            switches.append(b"\x1b[>4m")
        if self._title:
            switches.append(b"\x1b]0;\x07")
        switches += (_PLAIN, _AT_REST)
        lasting = [each for each in reversed(self._in_order()) if each[0] not in _FLICKERING]
        switches += [_private(mode, not on) for mode, on in lasting]
        return b"".join(switches)

    def _in_order(self) -> list[tuple[bytes, bool]]:
        """Return the modes with the other screen first: some belong to the screen they are on."""
        return sorted(self._private.items(), key=lambda each: each[0] not in _ALTERNATE_SCREEN)


def _private(mode: bytes, on: bool) -> bytes:
    return b"\x1b[?%b%b" % (mode, b"h" if on else b"l")


def without_sequences(data: bytes) -> str:
    """Return the text of what a program printed."""
    return _ANY_SEQUENCE.sub(b"", data).decode("utf-8", "replace").strip()
