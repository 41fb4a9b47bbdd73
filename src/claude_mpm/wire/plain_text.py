"""The wire `plain-text`: one line in, lines out, and no sign of where an answer ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_mpm.wire.events import Event, PlainText

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_mpm.wire.framing import Line

# As many lines go into one event: few enough to look at one by one where there is a reason.
_LINES = 50


class PlainLines:
    """What any program that reads and prints lines speaks."""

    name = "plain-text"
    structured = False
    greets = False

    def decode(self, line: Line) -> list[Event]:
        """Return one event for the line; bytes that are not UTF-8 are replaced, never fatal."""
        return [Event("text", PlainText(_text(line.data)), line.offset, line.end, line.data, "text")]

    def decode_together(self, lines: Sequence[Line]) -> list[Event]:
        """Return the same text in fewer events, of several lines each."""
        pieces = [lines[n : n + _LINES] for n in range(0, len(lines), _LINES)]
        return [_together(piece) for piece in pieces]

    def prompt(self, text: str, uuid: str) -> bytes:
        """Return the prompt as a line; this wire has no identities, so `uuid` does not travel."""
        return text.encode() + b"\n"


def each_line(event: Event) -> list[Event]:
    """Return an event of several lines as one for each of them."""
    found, offset = [], event.offset
    for data in event.raw.split(b"\n"):
        end = min(offset + len(data) + 1, event.end)
        found.append(Event("text", PlainText(_text(data)), offset, end, data, "text"))
        offset = end
    return found


def _together(lines: Sequence[Line]) -> Event:
    raw = b"\n".join([line.data for line in lines])
    text = _text(raw)
    if "\r" in text:
        text = "\n".join([line.rstrip("\r") for line in text.split("\n")])
    return Event("text", PlainText(text), lines[0].offset, lines[-1].end, raw, "text")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").rstrip("\r")
