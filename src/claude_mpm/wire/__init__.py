"""Wires: they decode the lines of a journal into events, and encode prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from claude_mpm.wire.plain_text import PlainLines
from claude_mpm.wire.stream_json import StreamJson
from claude_mpm.wire.transcript import Transcript

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_mpm.wire.events import Event
    from claude_mpm.wire.framing import Line


class Wire(Protocol):
    """A format of journals and prompts.

    Attributes:
        name: in `meta.json` and on the command line.
        structured: whether it marks the end of turns, and the calls of tools.
        joins: whether lines that were read together may be decoded as one.
        greets: whether Claude answers before its first prompt, so that its start can be detected.
    """

    @property
    def name(self) -> str: ...
    @property
    def structured(self) -> bool: ...
    @property
    def joins(self) -> bool: ...
    @property
    def greets(self) -> bool: ...
    def decode(self, line: Line) -> list[Event]: ...
    def decode_all(self, lines: Sequence[Line]) -> list[Event]: ...
    def prompt(self, text: str, uuid: str, *, command: bool = False) -> bytes: ...


WIRES: dict[str, Wire] = {wire.name: wire for wire in (StreamJson(), PlainLines(), Transcript())}

__all__ = ["WIRES", "PlainLines", "StreamJson", "Transcript", "Wire"]
