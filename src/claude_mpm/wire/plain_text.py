"""The wire `plain-text`: one line in, lines out, and no sign of where an answer ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_mpm.wire.events import Event, PlainText

if TYPE_CHECKING:
    from claude_mpm.wire.framing import Line


class PlainLines:
    """What any program that reads and prints lines speaks."""

    name = "plain-text"
    structured = False
    greets = False

    def decode(self, line: Line) -> list[Event]:
        """Return one event for the line; bytes that are not UTF-8 are replaced, never fatal."""
        text = line.data.decode("utf-8", "replace").rstrip("\r")
        return [Event("text", PlainText(text), line.offset, line.end, line.data, "text")]

    def prompt(self, text: str, uuid: str) -> bytes:
        """Return the prompt as a line; this wire has no identities, so `uuid` does not travel."""
        return text.encode() + b"\n"
