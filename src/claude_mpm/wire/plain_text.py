"""The wire `plain-text`: prompts and answers are lines, and nothing marks the end of an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_mpm.wire.events import Event, PlainText

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_mpm.wire.framing import Line


class PlainLines:
    """The wire of any program that reads and prints lines."""

    name = "plain-text"
    structured = False
    joins = True
    greets = False

    def decode(self, line: Line) -> list[Event]:
        """Return one event for the line, or the lines; invalid UTF-8 is replaced."""
        return self.decode_all((line,))

    def decode_all(self, lines: Sequence[Line]) -> list[Event]:
        """Return one event for each line."""
        return [_event(line.data, line.offset, line.end) for line in lines]

    def prompt(self, text: str, uuid: str, *, command: bool = False) -> bytes:
        """Return the prompt as a line; its `uuid` and whether it is a `command` are not sent."""
        return text.encode() + b"\n"


def in_pieces(event: Event, lines: int) -> list[Event]:
    """Split an event of many lines into several events of at most `lines` lines each."""
    events, offset = [], event.offset
    datas = event.raw.split(b"\n")
    for first in range(0, len(datas), lines):
        data = b"\n".join(datas[first : first + lines])
        end = min(offset + len(data) + 1, event.end)
        events.append(_event(data, offset, end))
        offset = end
    return events


def _event(data: bytes, offset: int, end: int) -> Event:
    text = data.decode("utf-8", "replace")
    lines = text.split("\n")
    if "\r" in text:
        lines = [line.rstrip("\r") for line in lines]
        text = "\n".join(lines)
    return Event("text", PlainText(text, lines), offset, end, data, "text")
