"""Outside text as text: what would steer a terminal, or could not be seen on it, is shown.

What Claude, a tool, a place, a project or a file says may hold escape sequences that set the title,
write to the clipboard or wipe the screen, backspaces and carriage returns that print over what is
there, marks that turn the direction of writing, and characters without a width that hide something.
"""

from __future__ import annotations

import logging
import unicodedata
from typing import TYPE_CHECKING

from claude_mpm.patterns import lazy_pattern

if TYPE_CHECKING:
    import re

# C0 but for line breaks and tabs, DEL, C1, and what Unicode has of the kind: categories Cf, Zl, Zp
# and Cs without the visible signs among them, fillers, and selectors of variants but for emoji.
_STEERING = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_UNFIT = lazy_pattern(f"[{_STEERING}]")
# Where each character counts, also what looks like a blank, or is drawn over its neighbour.
_DECEIVING = lazy_pattern(
    f"[{_STEERING}\t\xa0\u1680\u2000-\u200a\u202f\u205f\u2800\u3000\ufe0e\ufe0f]"
)
_BREAKS = lazy_pattern("\r\n|[\n\t]")
_VISIBLE = 0xA0  # where the control characters of Latin-1 end
_MOST_MARKS = 2  # on one letter, in the languages that need them


def printable(text: str) -> str:
    """Return text in which all that steers a terminal is shown, but for line breaks and tabs."""
    return _UNFIT.sub(_shown, text)


def one_line(value: object, *, shows: bool = True) -> str:
    """Return a value as one line, such as a cell of a table.

    Args:
        shows: whether control characters are shown; else they are replaced by blanks.
    """
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    if text.isascii() and text.isprintable() and "  " not in text:  # as most texts are
        return text.strip(" ")
    text = _BREAKS.sub(" ", text)
    return " ".join((printable(text) if shows else _UNFIT.sub(" ", text)).split())


def shortened(text: str, most: int) -> str:
    """Return a text; of one with more than `most` characters the beginning, and that it was cut."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def exact(text: str) -> str:
    """Return text in which every character can be seen, but for line breaks and plain blanks."""
    text = _DECEIVING.sub(_shown, text)
    return text if text.isascii() else "".join(_without_overprinting(text))


def exact_line(text: str) -> str:
    """Return a text, such as a path, as one line in which every character can be seen."""
    return exact(text).replace("\n", "\\n")


def printable_json(text: str) -> str:
    """Return JSON that says the same with nothing in it that steers a terminal."""
    return _UNFIT.sub(_escaped, text)


class LineFormatter(logging.Formatter):
    """Formats log records without control characters."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as text."""
        return printable(super().format(record))


def _shown(found: re.Match[str]) -> str:
    code = ord(found[0])
    if found[0] == "\t":
        return "\\t"
    return f"\\x{code:02x}" if code < _VISIBLE else f"<U+{code:04X}>"


def _escaped(found: re.Match[str]) -> str:
    data = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{data[n : n + 2].hex()}" for n in range(0, len(data), 2))


def _without_overprinting(text: str) -> list[str]:
    """Return the characters; a combining mark is shown by its number where no letter carries it."""
    parts, carried = [], _MOST_MARKS
    for each in text:
        kind = unicodedata.category(each)
        if kind[0] != "M":
            carried = 0 if kind[0] == "L" else _MOST_MARKS
        elif carried >= _MOST_MARKS or kind == "Me" or "OVERLAY" in unicodedata.name(each, ""):
            each = f"<U+{ord(each):04X}>"
        else:
            carried += 1
        parts.append(each)
    return parts
